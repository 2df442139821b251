"""Several engines on one queue, some of them stopped or killed: each file is published once, by one of them.

Seeded; a failure names its seed. A rename is counted where it happens, by strace, when there is one.
"""

import asyncio
import fcntl
import os
import random
import shutil
import signal
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from asyncdl.core.plan import SEGMENT_BYTES
from asyncdl.demo import corpus_dir
from asyncdl.demo.faults import Fault
from asyncdl.demo.hub import DemoHub
from asyncdl.demo.repos import GeneratedFile, Repo
from tests.integration.store.rig import assert_sound
from tests.support.engine import REPO, Bench, packaged_recipe
from tests.support.engine_process import engine_process
from tests.support.origin import Held, Origin

SEED = int(os.environ.get("ASYNCDL_TEST_SEED", "20261120"))
MIB = 1 << 20
HAVE_STRACE = shutil.which("strace") is not None


def config_of(bench, **changes):
    return {"queue": str(bench.queue), "data_dir": str(bench.data_dir), "workers": 4} | changes


def corpus(*languages):
    folder = corpus_dir() / "data"
    return {
        f"data/{path.relative_to(folder).as_posix()}": path
        for language in languages
        for path in sorted((folder / language).rglob("*.parquet"))
    }


def mixed(n_small):
    files = {f"s/{n:04d}.bin": GeneratedFile(20_000 + n * 997 % 150_000, seed=n) for n in range(n_small)}
    return files | {f"b/{n}.bin": GeneratedFile(2 * SEGMENT_BYTES + n, seed=5000 + n) for n in range(3)}


def completed(*engines):
    """{(kind, path): how often any of them said so}."""
    return Counter(
        (told["kind"], told["path"]) for engine in engines for told in engine.of("JobEnded", outcome="completed")
    )


def bodies(hub):
    return sum(request.bytes_sent for request in hub.requests if request.status in (200, 206))


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    made.data_dir.mkdir()
    return made


def strace(log: Path):
    """Notes each rename of the engine's threads; the kernel lets every other call pass untouched."""
    if not HAVE_STRACE:
        return []
    return ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=rename,renameat,renameat2", "-o", str(log)]


def renames(*logs):
    """{target: how often something was renamed to it}."""
    lines = [line for log in logs for line in log.read_text().splitlines() if '"' in line]
    return Counter(line.rsplit('"', 2)[1] for line in lines)


async def test_two_engines_share_the_work_and_do_each_job_once(bench, tmp_path):
    repo = Repo(REPO, mixed(200) | corpus("swe_Latn"))
    logs = [tmp_path / "one.log", tmp_path / "other.log"]
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub, text_field="text", recipe=packaged_recipe())
        async with AsyncExitStack() as stack:
            engines = [
                await stack.enter_async_context(engine_process(config_of(bench), under=strace(log))) for log in logs
            ]
            assert [await engine.ended() for engine in engines] == [0, 0]
        assert bodies(hub) == sum(repo.main.content(path).size_bytes for path in repo.main.paths)
    bench.assert_as_served(repo)
    assert_sound(bench.queue)
    done = completed(*engines)
    assert set(done.values()) == {1}
    assert len(done) == len(repo.main.paths) + 2 * len(corpus("swe_Latn"))
    if HAVE_STRACE:
        published = renames(*logs)
        assert {published[str(bench.file(path))] for path in repo.main.paths} == {1}


async def test_neither_of_two_engines_starves(bench):
    """Half a mean is the least that either gets; with SQLite's own waiting it was one in five thousand."""
    repo = Repo(REPO, {f"{n:04d}.bin": GeneratedFile(4000, seed=n) for n in range(200)})
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub)
        async with (
            engine_process(config_of(bench, forever=True)) as one,
            engine_process(config_of(bench, forever=True)) as other,
        ):
            await one.wait_for("Begun")
            await other.wait_for("Begun")
            more = Repo("org/more", {f"{n:04d}.bin": GeneratedFile(4000, seed=n) for n in range(600)})
            hub._state.add([more])
            await bench.enqueue_repo(hub, "org/more")
            await bench.until(lambda: set(bench.states().values()) == {"completed"})
            shares = []
            for engine in (one, other):
                engine.send(signal.SIGTERM)
                assert await engine.ended() == 0
                shares.append(len(engine.of("JobEnded", dataset="org/more")))
    assert sum(shares) == 600
    assert min(shares) >= 600 / 2 / 2, shares


# --- one that sleeps past its lease


async def sleeper(folder, rng):
    """A is stopped somewhere in its work; B takes over and ends it; A wakes up and finds that it is late."""
    folder.mkdir()
    bench = Bench(folder)
    bench.data_dir.mkdir()
    n_free = rng.randrange(8)
    held = Held(rng.randrange(MIB, 3 * MIB), n_free=n_free)
    content = random.Random(1).randbytes(6 * SEGMENT_BYTES)
    files = {"big.bin": content, **{f"{n}.bin": content[: 50_000 + n] for n in range(6)}}
    async with Origin(files, held) as origin:
        await bench.enqueue_known(origin.url, {path: (len(data), None) for path, data in files.items()})
        async with engine_process(config_of(bench, lease_s=1.0, workers=2)) as late:
            await held.open(2)
            await stop(bench, late)
            held.go_on.set()  # what A asked for is on its way to it, and is there when it wakes up
            async with engine_process(config_of(bench, lease_s=1.0)) as other:
                assert await other.ended() == 0
                assert other.of("Rescued")
            published = {path: identity(bench.file(path, "host")) for path in files}
            rows = bench.rows("SELECT id, state, attempt, result, done_bytes FROM job")
            n_told = len(late.told)
            late.send(signal.SIGCONT)
            assert await late.ended() == 0
        after = [told for told in late.told[n_told:] if told["event"] == "JobEnded"]
        late_for = [told for told in after if (told["kind"], told["path"]) in completed(other)]
        assert {told["outcome"] for told in late_for} == {"lost"}, late_for or "A had nothing under way"
    assert bench.rows("SELECT id, state, attempt, result, done_bytes FROM job") == rows
    assert {path: identity(bench.file(path, "host")) for path in files} == published
    for path, data in files.items():
        assert bench.file(path, "host").read_bytes() == data, path
    assert set(completed(late, other).values()) == {1}
    assert_sound(bench.queue)


async def stop(bench, engine):
    """SIGSTOP, but not within a commit: who is stopped there holds SQLite's lock, and everybody waits for it."""
    while True:
        engine.send(signal.SIGSTOP)
        status = Path(f"/proc/{engine.process.pid}/status")
        await bench.until(lambda: "State:\tT" in status.read_text())
        with Path(f"{bench.queue}-lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                engine.send(signal.SIGCONT)
            else:
                return


def identity(path):
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


async def sleepers(tmp_path, n):
    rng = random.Random(SEED)
    for number in range(n):
        try:
            await sleeper(tmp_path / str(number), rng)
        except AssertionError as error:
            raise AssertionError(f"sleeper {number}, seed {SEED}: {error}") from error
    print(f"seed {SEED}: {n} engines slept past their lease, stale settles 0, files damaged 0")


async def test_an_engine_that_slept_past_its_lease_settles_nothing_and_damages_nothing(tmp_path):
    await sleepers(tmp_path, 3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_many_engines_that_slept_past_their_leases(tmp_path):
    await sleepers(tmp_path, 60)


async def test_an_engine_that_slept_while_nobody_came_goes_on_with_its_work(bench):
    """Its leases ran out, but nobody took them: it gives back what it cannot rely on, and does it again."""
    content = random.Random(2).randbytes(3 * SEGMENT_BYTES)
    held = Held(MIB)
    async with Origin({"a.bin": content}, held) as origin:
        await bench.enqueue_known(origin.url, {"a.bin": (len(content), None)})
        async with engine_process(config_of(bench, lease_s=0.5)) as late:
            await held.open(3)
            await stop(bench, late)
            ends = bench.row("a.bin")["lease_until"]
            await bench.until(lambda: bench.rows("SELECT unixepoch('subsec')")[0][0] > ends)
            held.go_on.set()
            late.send(signal.SIGCONT)
            assert await late.ended() == 0
    assert bench.states() == {"a.bin": "completed"}
    assert bench.file("a.bin", "host").read_bytes() == content
    assert len(late.of("JobEnded", outcome="completed")) == 1


# --- one that is killed again and again


async def beside_a_mortal(bench, hub, repo, n_kills, rng, moments):
    """One engine works through; beside it one is started and killed, n_kills times at most."""
    mortals = []
    async with engine_process(config_of(bench, lease_s=5.0)) as steady:
        while len(mortals) < n_kills and steady.process.returncode is None:
            async with engine_process(config_of(bench, lease_s=5.0)) as mortal:
                mortals.append(mortal)
                try:
                    async with asyncio.timeout(rng.uniform(*moments)):
                        await asyncio.shield(steady.process.wait())
                except TimeoutError:
                    await mortal.kill()
        assert await steady.ended() == 0
    bench.assert_as_served(repo)
    assert_sound(bench.queue)
    done = completed(steady, *mortals)
    assert set(done.values()) == {1}, f"seed {SEED}"
    total = sum(repo.main.content(path).size_bytes for path in repo.main.paths)
    # Twice: a file that is being published holds no slot any more, and is fetched again if it is not vouched for.
    assert bodies(hub) <= total + len(mortals) * 2 * 4 * SEGMENT_BYTES
    assert set(bench.rows("SELECT DISTINCT outcome FROM attempt")) <= {("orphaned",)}
    print(f"seed {SEED}: {len(mortals)} engines killed beside one, {(bodies(hub) - total) / 1e6:.2f} MB again in all")


async def test_an_engine_works_on_beside_one_that_is_killed(bench):
    repo = Repo(REPO, mixed(150))
    async with DemoHub([repo], faults=[Fault("slow", path="b*", bytes_per_s=3 * MIB)]) as hub:
        await bench.enqueue_repo(hub)
        await beside_a_mortal(bench, hub, repo, 3, random.Random(SEED), (0.8, 1.2))


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_an_engine_works_on_beside_one_that_is_killed_every_second(bench):
    files = mixed(3000) | {f"c/{n}.bin": GeneratedFile(8 * SEGMENT_BYTES, seed=7000 + n) for n in range(8)}
    repo = Repo(REPO, files)
    async with DemoHub([repo], faults=[Fault("slow", path="[bc]*", bytes_per_s=2 * MIB)]) as hub:
        await bench.enqueue_repo(hub)
        await beside_a_mortal(bench, hub, repo, 60, random.Random(SEED), (0.7, 1.5))


# --- children that are killed


async def children_killed(bench, languages, n_kills):
    """Kill a child of the pool whenever so many more tasks have ended."""
    files = corpus(*languages)
    repo = Repo(REPO, files)
    rng = random.Random(SEED)
    async with DemoHub([repo]) as hub:
        await bench.enqueue_repo(hub, text_field="text", recipe=packaged_recipe())
        async with engine_process(config_of(bench, processes=2)) as engine:
            for n in range(n_kills):
                await engine.wait_for("JobEnded", n=len(files) + 2 * n + 1)
                if pids := children(engine.process.pid):
                    os.kill(rng.choice(pids), signal.SIGKILL)
            assert await engine.ended() == 0
    assert set(bench.states().values()) == {"completed"}
    crashed = engine.of("JobEnded", error_class="worker_crashed")  # none where all that were killed had no task
    assert len(crashed) <= n_kills, f"a child's death was charged to its neighbours, seed {SEED}"
    discarded = {(told["kind"], told["path"]) for told in crashed if told["outcome"] == "discarded"}
    for kind in ("verify", "tokenize"):
        left = {path for path, state in bench.states(kind).items() if state != "completed"}
        assert left == {path for found, path in discarded if found == kind}
    assert_sound(bench.queue)
    print(f"seed {SEED}: {n_kills} children killed, {len(crashed)} tasks charged, {len(discarded)} discarded")


def children(pid):
    """The workers of a pool: spawned, with a pipe to the engine; not the resource tracker."""
    found = []
    for one in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in one.read_text().split():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


@pytest.mark.timeout(600)  # a child killed just as it takes a task is found out by that task's time limit alone
async def test_killed_children_cost_their_own_task_alone(bench):
    await children_killed(bench, ("swe_Latn", "jpn_Jpan", "arb_Arab", "eng_Latn", "deu_Latn"), 2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_many_killed_children_cost_their_own_tasks_alone(bench):
    languages = sorted(path.name for path in (corpus_dir() / "data").iterdir())
    await children_killed(bench, languages, 40)
