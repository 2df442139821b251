"""The token and signed queries stay in memory: no file, no event, no log and no output has them."""

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from asyncdl.core.events import RequestFailed
from asyncdl.core.plan import SEGMENT_BYTES
from asyncdl.demo import corpus_dir
from asyncdl.demo.faults import Fault
from asyncdl.demo.hub import DemoHub
from asyncdl.demo.repos import GeneratedFile, Repo
from tests.support.engine import REPO

ROOT = Path(__file__).parents[3]
TOKEN = "hf_canaryCanaryCanary42"
FILES = {
    "data/eng_Latn/train/000.parquet": corpus_dir() / "data" / "eng_Latn" / "train" / "000_00000.parquet",
    "data/eng_Latn/train/bad.parquet": b"PAR1 this is no Parquet file PAR1",
    "data/eng_Latn/train/big.bin": GeneratedFile(2 * SEGMENT_BYTES, seed=1),
    "data/eng_Latn/train/gone.bin": GeneratedFile(1_500_000, seed=2),
    "data/eng_Latn/train/wrong.bin": GeneratedFile(1_600_000, seed=3),
}
FAULTS = [
    Fault("missing", origin="cdn", path="*gone.bin"),
    Fault("flipped", origin="cdn", path="*wrong.bin"),
    Fault("status", origin="cdn", status=403, every=4, times=3),
    Fault("status", origin="cdn", status=500, every=3, times=3),
    Fault("drop", origin="cdn", every=3, times=2, after_bytes=10_000),
    Fault("hang_up", every=7, times=2),
    Fault("redirect_to", origin="hub", path="*gone.bin", times=1, location="http://127.0.0.1:1/x?Signature=canarySig"),
]


def secrets_of(hub):
    """The token, and each signature that the hub made for this run."""
    queries = [parse_qs(urlsplit(request.url).query) for request in hub.requests if request.origin == "cdn"]
    signatures = {value for query in queries for value in query.get("Signature", [])}
    assert signatures, "nothing was signed, so this test is blind"
    return [TOKEN, "canarySig", *signatures]


def assert_nowhere(secrets, texts):
    for name, text in texts.items():
        for secret in secrets:
            assert secret.encode() not in text, f"{name} has a secret"


async def test_no_secret_is_in_any_file_or_output_of_a_run_with_faults(tmp_path):
    """The whole program: enqueue, run and status, with everything that goes wrong told to stdout, stderr and log."""
    env = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN,
    }  # fmt: skip
    outputs = {}

    async def asyncdl(*args):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "asyncdl", *args, cwd=tmp_path, env=env, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        outputs[args[0]] = out + err
        return process.returncode

    async with DemoHub([Repo(REPO, FILES, private=True)], token=TOKEN, faults=FAULTS) as hub:
        env["HF_ENDPOINT"] = hub.endpoint
        assert await asyncdl("enqueue", REPO) == 0, outputs
        assert await asyncdl("run", "--json", "--log-level", "debug") == 6, outputs["run"].decode()
        await asyncdl("status", "--json")
        secrets = secrets_of(hub)
        assert hub.totals["hub"].n_authorized > 0
        assert hub.totals["cdn"].n_authorized == 0
    written = {
        str(path.relative_to(tmp_path)): path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file() and "raw" not in path.parts
    }
    assert {"queue.sqlite", "datasets/download_manifest.json"} <= set(written)
    assert any(name.startswith("datasets/logs/") for name in written)
    assert b"request_failed" in outputs["run"], "nothing went wrong, so this test is blind"
    assert_nowhere(secrets, written | outputs)


async def test_no_secret_is_in_the_queue_while_the_run_goes_on_nor_in_events_nor_logs(bench, caplog):
    caplog.set_level(logging.DEBUG)
    seen = {}

    def listen(event):
        bench.told(event)
        if isinstance(event, RequestFailed) and len(seen) < 12:
            for path in bench.queue.parent.glob("queue.sqlite*"):
                # By another process: a file of SQLite's that is closed here would take its locks with it.
                copy = subprocess.run(["cat", path], stdout=subprocess.PIPE, check=True)
                seen[f"{path.name} {len(seen)}"] = copy.stdout

    async with DemoHub([Repo(REPO, FILES, private=True)], token=TOKEN, faults=FAULTS) as hub:
        bench.endpoint = hub.endpoint
        await bench.enqueue_repo(hub)
        async with bench.running(token=TOKEN, listen=listen) as ended:
            await ended
        secrets = secrets_of(hub)
    assert bench.told.of(RequestFailed)
    assert any(name.startswith("queue.sqlite-wal") for name in seen)
    told = {"events": repr(bench.told.events).encode(), "log": caplog.text.encode()}
    assert_nowhere(secrets, seen | told)


async def test_a_token_is_not_sent_to_a_host_it_was_not_set_for(bench):
    async with DemoHub([Repo(REPO, FILES)], token=TOKEN) as hub:
        bench.endpoint = "http://127.0.0.1:9"  # the token's origin; this hub is another
        await bench.enqueue_repo(hub)
        await bench.run(token=TOKEN)
        assert hub.totals["hub"].n_requests > 0
        assert hub.totals["hub"].n_authorized == hub.totals["cdn"].n_authorized == 0


@pytest.mark.parametrize("fault", ["flipped", "missing"])
async def test_what_a_job_died_of_is_told_without_its_url(bench, fault):
    files = {"data/eng_Latn/train/wrong.bin": FILES["data/eng_Latn/train/wrong.bin"]}
    async with DemoHub([Repo(REPO, files)], faults=[Fault(fault, origin="cdn")]) as hub:
        await bench.enqueue_repo(hub)
        await bench.run()
        secrets = secrets_of(hub)
    texts = bench.rows("SELECT error_text FROM job UNION SELECT error_text FROM attempt")
    assert texts
    assert_nowhere([*secrets, "http://"], {"errors": repr(texts).encode()})
