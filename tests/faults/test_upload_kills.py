"""An upload that is killed at any request: the same command goes on, nothing comes twice, and the repo is right."""

import os
import random
import sys
from asyncio import create_subprocess_exec, subprocess
from pathlib import Path

import pytest

from asyncdl.demo.hub import DemoHub
from tests.support.packed import packed
from tests.support.uploads import REPO, TOKEN, assert_nothing_came_twice, held, under

ROOT = Path(__file__).parents[2]
SPLITS = {"a--train": [[3], [4], [5]], "b--test": [[2]]}
CODE = "import asyncdl.core.uploads as u; u.MAX_COMMIT_FILES = 2\nfrom asyncdl.cli.main import main\nmain()"
"""Several commits, of few files."""

N_REQUESTS = 31
"""Of one upload of SPLITS, all but the last; the number of the one at which it dies is drawn from them."""


async def upload(hub, folder, kill_at=None):
    """Run it; kill_at: SIGKILL as the hub gets its request of that number. Return the exit code."""
    env = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder), "HF_ENDPOINT": hub.endpoint,
        "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1",
    }  # fmt: skip
    process = await create_subprocess_exec(
        sys.executable,
        "-c",
        CODE,
        "upload",
        folder,
        REPO,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    journal, opened, n_seen = hub._state.journal, hub._state.journal.open, 0

    def open_(request):
        nonlocal n_seen
        n_seen += 1
        if n_seen == kill_at:
            process.kill()
        return opened(request)

    journal.open = open_
    code = await process.wait()
    del journal.open
    return code


async def one_death(tmp_path, seed):
    folder = packed(tmp_path / "tok-4", SPLITS)
    at = random.Random(seed).randint(3, N_REQUESTS)
    async with DemoHub([], token=TOKEN, part_bytes=1000) as hub:
        assert await upload(hub, folder, at) == -9
        assert await upload(hub, folder) == 0
        assert_nothing_came_twice(hub)
        assert {path: sha256 for path, sha256 in held(hub).items() if path != "README.md"} == under(folder)
        assert len(hub.repo(REPO).log) == 3
        n_before = len(hub.requests)
        assert await upload(hub, folder) == 0
        assert len(hub.requests) == n_before + 3


@pytest.mark.parametrize("seed", range(3))
async def test_an_upload_killed_at_a_random_request_goes_on(tmp_path, seed):
    await one_death(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 30))
async def test_an_upload_killed_at_many_random_requests_goes_on(tmp_path, seed):
    await one_death(tmp_path, seed)
