"""What happens to the jobs of engines that die, hang or sleep."""

import os
import subprocess
import sys

import pytest

from asyncdl.store import place, presence
from asyncdl.store.jobs import GiveBack
from asyncdl.store.presence import Presence
from tests.integration.store.rig import LEASE_S, NOW, assert_sound, rows, states

LATER = NOW + LEASE_S + 10


def identity_of_ended_process() -> str:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        identity = place.identity(child.pid)
    assert identity is not None
    return identity


async def start(rig, owner: str, identity: str) -> None:
    await rig.jobs(owner).start_engine(identity=identity, version="0", workers=1, pid=1, now=NOW)


async def test_the_jobs_of_an_ended_process_are_free_at_once_and_uncharged(rig):
    await rig.put(["a", "b"])
    await start(rig, "dead", identity_of_ended_process())
    await rig.take(2, owner="dead")
    assert await rig.jobs().rescue(now=NOW, grace_s=5) == 2
    assert rows(rig.path, "SELECT state, crashes, take_over, run_at FROM job") == [("available", 0, 0, NOW)] * 2
    assert rows(rig.path, "SELECT outcome, error_class FROM attempt") == [("orphaned", "engine_died")] * 2
    assert await rig.jobs().rescue(now=NOW, grace_s=5) == 0
    assert_sound(rig.path)


async def test_a_file_that_saw_many_engines_die_is_no_poison(rig):
    await rig.put(["a"])
    gone = identity_of_ended_process()
    for n in range(5):
        await start(rig, f"dead {n}", gone)
        assert len(await rig.take(owner=f"dead {n}")) == 1
        assert await rig.jobs().rescue(now=NOW, grace_s=5) == 1
    assert states(rig.path) == {"a": "available"}


async def test_the_jobs_of_a_living_process_are_left_alone(rig):
    await rig.put(["a"])
    await start(rig, "alive", place.identity(os.getpid()))
    await rig.take(owner="alive")
    assert await rig.jobs().rescue(now=NOW + LEASE_S, grace_s=5) == 0


async def test_an_expired_lease_is_charged_and_the_third_discards(rig):
    await rig.put(["a"])
    for n in (1, 2, 3):
        [job] = await rig.take(owner="hangs", now=LATER * n)
        assert job.take_over == (n > 1)
        assert await rig.jobs().rescue(now=LATER * n + LEASE_S + 4, grace_s=5) == 0, "the grace is not over"
        assert await rig.jobs().rescue(now=LATER * n + LEASE_S + 6, grace_s=5) == 1
    assert rows(rig.path, "SELECT state, crashes, error_class FROM job") == [("discarded", 3, "lease_expired")]
    assert rows(rig.path, "SELECT attempt, outcome FROM attempt") == [(n, "rescued") for n in (1, 2, 3)]
    assert_sound(rig.path)


async def test_new_bytes_prove_that_a_job_is_no_poison(rig):
    await rig.put(["a"])
    for n in range(1, 7):
        [job] = await rig.take(owner="hangs", now=LATER * n)
        await rig.jobs("hangs").progress(job, had=f"0-{n}", validator=None, size_bytes=100, done=n)
        await rig.jobs().rescue(now=LATER * n + LEASE_S + 6, grace_s=5)
    assert states(rig.path) == {"a": "available"}


async def test_worker_crashes_discard_at_the_third(rig):
    await rig.put(["a"])
    crash = GiveBack(outcome="crashed", run_at=NOW, failures=1, error_class="worker_crashed", error_text="signal 11")
    told = [await rig.jobs().give_back((await rig.take())[0], crash, now=NOW) for _ in range(3)]
    assert told == [True, True, False]
    assert rows(rig.path, "SELECT state, error_class FROM job") == [("discarded", "worker_crashed")]
    assert [outcome for (outcome,) in rows(rig.path, "SELECT outcome FROM attempt")] == [
        "crashed", "crashed", "discarded",
    ]  # fmt: skip


async def test_an_engine_does_not_rescue_its_own_leases_after_a_jump_of_the_clock(rig):
    await rig.put(["a"])
    [job] = await rig.take()
    assert await rig.jobs().rescue(now=NOW + 86_400, grace_s=5) == 0
    assert await rig.jobs().renew(now=NOW + 86_400, lease_s=LEASE_S) == {job.id: 1}


MINE = place.identity(os.getpid())


def with_field(n: int, value: str) -> str:
    fields = str(MINE).split(" ")
    fields[n] = value
    return " ".join(fields)


@pytest.mark.skipif(MINE is None, reason="no /proc here: nothing is known of other processes")
@pytest.mark.parametrize(
    ("known", "gone"),
    [
        (MINE, False),
        (with_field(3, "1"), True),  # the same pid, started at another time
        (with_field(2, "4194305"), True),  # a pid beyond any (PID_MAX_LIMIT is 2**22)
        (with_field(0, "00000000-0000-0000-0000-000000000000"), True),  # before the last boot
        (with_field(1, "pid:[1]"), False),  # a container's: cannot be judged
        ("", False),
        ("nonsense", False),
    ],
)
def test_only_a_process_that_has_surely_ended_is_gone(known, gone):
    assert place.is_gone(known) is gone


OTHER_NAMESPACE = "boot pid:[1] 1 1"
HOLDS = """
import sys
from pathlib import Path
from asyncdl.store.presence import Presence

with Presence(Path(sys.argv[1]), "contained"):
    print("present", flush=True)
    input()
"""


async def test_an_engine_of_another_container_is_alive_while_it_is_present_and_uncharged_when_it_was_killed(rig):
    await rig.put(["a"])
    command = [sys.executable, "-c", HOLDS, str(rig.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"present\n"
        await start(rig, "contained", OTHER_NAMESPACE)
        await rig.take(owner="contained")
        assert await rig.jobs().rescue(now=NOW, grace_s=5) == 0
        child.kill()
    assert await rig.jobs().rescue(now=NOW, grace_s=5) == 1
    assert rows(rig.path, "SELECT state, crashes, take_over FROM job") == [("available", 0, 0)]
    assert not presence.path_of(rig.path, "contained").exists(), "who rescues clears away"


async def test_a_present_engine_is_alive_whatever_its_process_id_says(rig):
    await rig.put(["a"])
    with Presence(rig.path, "alive"):
        await start(rig, "alive", identity_of_ended_process())
        await rig.take(owner="alive")
        assert await rig.jobs().rescue(now=NOW, grace_s=5) == 0
    assert not presence.path_of(rig.path, "alive").exists()


async def test_an_engine_that_fails_leaves_the_proof_that_it_ended(rig):
    await start(rig, "failed", OTHER_NAMESPACE)
    with pytest.raises(ZeroDivisionError), Presence(rig.path, "failed"):
        1 / 0
    assert presence.has_ended(rig.path, "failed")
    await rig.jobs().rescue(now=NOW, grace_s=5)
    assert rows(rig.path, "SELECT count(*) FROM engine WHERE ended_at IS NULL") == [(0,)]
    assert presence.has_ended(rig.path, "failed") is None


async def test_an_engine_that_ends_gives_back_all_it_holds_uncharged(rig):
    await rig.put(["a", "b"])
    await start(rig, "me", "")
    await rig.take(2)
    await rig.jobs().end_engine(now=NOW + 1)
    assert rows(rig.path, "SELECT state, crashes, failures, take_over, run_at FROM job") == [
        ("available", 0, 0, 0, NOW + 1)
    ] * 2  # fmt: skip
    assert rows(rig.path, "SELECT outcome, error_class, error_text FROM attempt") == [("released", None, None)] * 2
    assert rows(rig.path, "SELECT ended_at FROM engine") == [(NOW + 1,)]
    assert_sound(rig.path)


async def test_who_may_still_be_alive_is_not_forgotten_when_the_next_holder_dies(rig):
    await rig.put(["a"])
    await rig.take(owner="hangs")
    await rig.jobs().rescue(now=LATER, grace_s=5)
    await start(rig, "dead", identity_of_ended_process())
    await rig.take(owner="dead", now=LATER)
    assert await rig.jobs().rescue(now=LATER, grace_s=5) == 1
    [job] = await rig.take(now=LATER)
    assert job.take_over
