"""A SIGKILL before or after any step that the disk or the queue can notice: the next run loses and repeats nothing.

Points are counted over the engine's threads, whose order differs from run to run; the seed makes the choice, not the
interleaving, repeatable.
"""

import hashlib
import os
import random

import pytest

from asyncdl.core.model import Digest
from asyncdl.core.plan import SEGMENT_BYTES
from tests.integration.store.rig import assert_sound
from tests.support.engine import Bench
from tests.support.origin import Origin
from tests.support.zygote import Zygote

SEED = int(os.environ.get("ASYNCDL_TEST_SEED", "20261120"))
WORKERS = 2
BIG = 2 * SEGMENT_BYTES + 17

FILES = {
    "unvouched/big.bin": random.Random(1).randbytes(BIG),  # no digest
    "vouched/big.bin": random.Random(2).randbytes(SEGMENT_BYTES + 5),
    "vouched/small.bin": random.Random(3).randbytes(40_000),
    "vouched/empty.bin": b"",
    "unknown/some.bin": random.Random(4).randbytes(300_000),  # not even a size
}


def facts():
    found = {path: (len(data), Digest("sha256", hashlib.sha256(data).hexdigest())) for path, data in FILES.items()}
    return found | {"unvouched/big.bin": (BIG, None), "unknown/some.bin": (None, None)}


async def one_death(zygote, folder, at, when):
    """Die once at that point, then run to the end; return what is wrong, and the bytes fetched more than once."""
    folder.mkdir()
    bench = Bench(folder)
    bench.data_dir.mkdir()
    async with Origin(FILES) as origin:
        await bench.enqueue_known(origin.url, facts())
        died = await zygote.run(bench, at, when, workers=WORKERS)
        there = {path: inode(bench, path) for path in FILES}
        known = {path: ino for path, ino in there.items() if ino is not None and len(FILES[path]) > SEGMENT_BYTES}
        settled = {path: there[path] for path, state in bench.states().items() if state == "completed"}
        ended = await zygote.run(bench, workers=WORKERS)
    assert died["code"] in (-9, 0), died
    assert ended["code"] == 0, ended
    assert_sound(bench.queue)
    for path, content in FILES.items():
        assert bench.file(path, "host").read_bytes() == content, path
    assert set(bench.states().values()) == {"completed"}
    assert bench.leftovers() == []
    for path, ino in (known | settled).items():
        assert inode(bench, path) == ino, f"{path} was published twice"
    again_bytes = origin.body_bytes - sum(map(len, FILES.values()))
    # A segment for each open request, and one for each file that is being published, which holds no slot any more.
    assert again_bytes <= 2 * WORKERS * SEGMENT_BYTES
    return died["code"], again_bytes


def inode(bench, path):
    try:
        return bench.file(path, "host").stat().st_ino
    except FileNotFoundError:
        return None


async def n_points(zygote, folder):
    folder.mkdir()
    bench = Bench(folder)
    bench.data_dir.mkdir()
    async with Origin(FILES) as origin:
        await bench.enqueue_known(origin.url, facts())
        whole = await zygote.run(bench, workers=WORKERS)
        assert origin.body_bytes == sum(map(len, FILES.values()))
    assert whole["code"] == 0
    return whole["points"]


async def deaths(tmp_path, chosen):
    """chosen: from the number of points to (point, side) pairs. Prints the score."""
    n_died = total_bytes = 0
    async with Zygote() as zygote:
        n = await n_points(zygote, tmp_path / "whole")
        pairs = chosen(n)
        for number, (at, when) in enumerate(pairs):
            try:
                code, again_bytes = await one_death(zygote, tmp_path / str(number), at, when)
            except AssertionError as error:
                raise AssertionError(f"death {when} point {at} of {n}, seed {SEED}: {error}") from error
            n_died += code == -9
            total_bytes += again_bytes
    print(f"seed {SEED}: {n_died} deaths at {n} points, lost 0, {total_bytes / n_died / 1e6:.2f} MB again per death")
    assert n_died >= len(pairs) * 0.8


async def test_a_death_at_some_points_loses_and_repeats_nothing(tmp_path):
    rng = random.Random(SEED)
    await deaths(tmp_path, lambda n: [(rng.randint(1, n), rng.choice(("before", "after"))) for _ in range(16)])


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_death_at_every_point_loses_and_repeats_nothing(tmp_path, when):
    await deaths(tmp_path, lambda n: [(at, when) for at in range(1, n + 1)])
