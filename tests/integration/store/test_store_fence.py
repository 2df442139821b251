"""Who has lost a lease changes nothing, whatever it says."""

from dataclasses import replace

import pytest

from asyncdl.errors import LeaseLostError
from asyncdl.store.jobs import GiveBack
from tests.integration.store.rig import LEASE_S, NOW, Rig, assert_sound, rows, verify_of

LATER = NOW + LEASE_S + 10
SAYINGS = {
    "complete": lambda jobs, job: jobs.complete(job, now=LATER, size_bytes=1, result={}, children=(verify_of(job),)),
    "progress": lambda jobs, job: jobs.progress(job, had="0-5", validator='"v"', size_bytes=9, done=5),
    "forget": lambda jobs, job: jobs.forget_bytes(job),
    "retry": lambda jobs, job: jobs.give_back(job, GiveBack(outcome="retry", run_at=0, failures=1), now=LATER),
    "crash": lambda jobs, job: jobs.give_back(job, GiveBack(outcome="crashed", run_at=0, failures=1), now=LATER),
    "discard": lambda jobs, job: jobs.discard(job, now=LATER, error_class="gone", error_text="x"),
    "look": lambda jobs, job: jobs.check_held(job),
}
ALL = "SELECT * FROM job ORDER BY id"


async def lose_lease(rig: Rig):
    await rig.put(["a"])
    [stale] = await rig.take(owner="slept")
    assert await rig.jobs("other").rescue(now=LATER, grace_s=5) == 1
    return stale


@pytest.mark.parametrize("saying", SAYINGS)
@pytest.mark.parametrize("by", ["nobody", "another engine", "the same engine", "a settled attempt"])
async def test_a_stale_lease_touches_no_row(rig, saying, by):
    stale = await lose_lease(rig)
    if by != "nobody":
        [fresh] = await rig.take(owner="slept" if by == "the same engine" else "other", now=LATER)
        assert fresh.attempt == stale.attempt + 1
        if by == "a settled attempt":
            await rig.finish(fresh, now=LATER)
    before = rows(rig.path, ALL), rows(rig.path, "SELECT * FROM attempt")
    with pytest.raises(LeaseLostError):
        await SAYINGS[saying](rig.jobs("slept"), stale)
    assert (rows(rig.path, ALL), rows(rig.path, "SELECT * FROM attempt")) == before


@pytest.mark.parametrize("saying", SAYINGS)
async def test_only_the_owner_may_speak_for_its_attempt(rig, saying):
    await rig.put(["a"])
    [job] = await rig.take(owner="me")
    before = rows(rig.path, ALL)
    with pytest.raises(LeaseLostError):
        await SAYINGS[saying](rig.jobs("other"), replace(job, owner="other"))
    assert rows(rig.path, ALL) == before


async def test_a_look_at_many_tells_of_each_whether_its_lease_holds(rig):
    await rig.put(["a", "b", "c"])
    lost, _, settled = await rig.take(3, owner="slept")
    await rig.jobs("other").rescue(now=LATER, grace_s=5)
    again = await rig.take(3, owner="slept", now=LATER)
    await rig.finish(again[2], now=LATER)
    assert await rig.jobs("slept").are_held([lost, again[0], again[2], settled, again[1]]) == [
        False, True, False, False, True,
    ]  # fmt: skip
    assert await rig.jobs("other").are_held(again) == [True, True, False], "each lease names its own owner"
    assert await rig.jobs("slept").are_held([]) == []


async def test_renewal_does_not_return_what_another_has(rig):
    await rig.put(["a", "b"])
    lost, kept = await rig.take(2, owner="slept")
    await rig.jobs("other").rescue(now=LATER, grace_s=5)
    [again] = await rig.take(owner="other", now=LATER)
    assert await rig.jobs("slept").renew(now=LATER, lease_s=LEASE_S) == {}
    assert await rig.jobs("other").renew(now=LATER, lease_s=LEASE_S) == {again.id: 2}
    assert {lost.id, kept.id} >= {again.id}


async def test_a_cancelled_job_is_lost_at_the_next_renewal_and_marked_for_take_over(rig):
    await rig.put(["a"])
    [job] = await rig.take()
    jobs = rig.jobs()
    assert await jobs.change_state("cancel", [job.id], now=NOW) == 1
    assert await jobs.renew(now=NOW, lease_s=LEASE_S) == {}
    with pytest.raises(LeaseLostError):
        await rig.finish(job)
    assert await jobs.change_state("revive", [job.id], now=NOW) == 1
    [again] = await rig.take()
    assert again.take_over


async def test_take_over_lasts_until_the_first_new_bytes(rig):
    await lose_lease(rig)
    [job] = await rig.take(now=LATER)
    assert job.take_over
    await rig.jobs().give_back(job, GiveBack(outcome="released", run_at=LATER, failures=0), now=LATER)
    [job] = await rig.take(now=LATER)
    assert job.take_over, "it was given back untried, so nobody has taken over"
    await rig.jobs().progress(job, had="0-5", validator=None, size_bytes=100, done=5)
    await rig.jobs().give_back(job, GiveBack(outcome="retry", run_at=LATER, failures=0), now=LATER)
    [job] = await rig.take(now=LATER)
    assert not job.take_over
    assert job.had == "0-5"
    assert_sound(rig.path)
