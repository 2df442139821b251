"""Several engines on one file, and engines that are killed."""

import asyncio
import subprocess
import sys
from itertools import islice
from pathlib import Path

from tests.integration.store.rig import Rig, assert_sound, rows, states

ROOT = Path(__file__).parents[3]


def settler(path: Path) -> subprocess.Popen:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.store.settler", str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert child.stdout.readline() == "ready\n"
    return child


def go(child: subprocess.Popen) -> None:
    child.stdin.write("\n")
    child.stdin.flush()


def fill(path: Path, n: int) -> None:
    rig = Rig(path)
    asyncio.run(rig.put([f"s/{k:05d}" for k in range(n)], now=0.0))
    rig.close()


def test_two_engines_settle_each_job_once(tmp_path):
    path = tmp_path / "queue.sqlite"
    fill(path, 3000)
    children = [settler(path), settler(path)]
    for child in children:
        go(child)
    done = [child.communicate()[0].split() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert len(done[0]) + len(done[1]) == 3000
    assert len({*done[0], *done[1]}) == 3000
    assert min(map(len, done)) > 0, "one engine had it all"
    assert rows(path, "SELECT DISTINCT attempt FROM job WHERE kind = 'download'") == [(1,)]
    assert_sound(path)


def test_what_a_killed_engine_had_answered_is_there_and_the_rest_is_done_by_the_next(tmp_path):
    path = tmp_path / "queue.sqlite"
    fill(path, 4000)
    acknowledged: list[str] = []
    for n in (1, 40, 333, 900):
        child = settler(path)
        go(child)
        acknowledged += [line.strip() for line in islice(child.stdout, n)]
        child.kill()
        acknowledged += child.communicate()[0].split()
        done = {str(id_) for (id_,) in rows(path, "SELECT id FROM job WHERE kind = 'download' AND state = 'completed'")}
        assert set(acknowledged) <= done
        assert_sound(path)
    last = settler(path)
    go(last)
    acknowledged += last.communicate()[0].split()
    assert set(states(path).values()) == {"completed"}
    assert len(acknowledged) == len(set(acknowledged)), "a job was settled twice"
    assert len(states(path, "verify")) == 4000
    assert rows(path, "SELECT max(crashes) FROM job") == [(0,)]
    assert_sound(path)
