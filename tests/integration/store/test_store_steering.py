"""What a person steers: pause and resume, another try, an end; and that no claim is slower or wrong for it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest

from asyncdl.core.names import folder_of
from asyncdl.core.states import AWAY_S
from asyncdl.errors import ConfigError
from asyncdl.status.snapshot import host_of
from asyncdl.store import sql, steering
from asyncdl.store.enqueue import Enqueue
from asyncdl.store.inputs import How, Inputs
from asyncdl.store.jobs import GiveBack, Jobs
from asyncdl.store.migrate import open_writer
from asyncdl.store.reader import Reader
from asyncdl.store.steering import Choice, Steering, would_cancel, would_retry
from asyncdl.store.writer import Writer
from tests.integration.store.rig import LEASE_S, NOW, artifact, assert_sound, dataset, recipe, rows, states
from tests.integration.store.test_store_versions import FILLED, VERSIONS, of_version

LATER = NOW + 1000


async def put(rig, name, paths, *, origin="http://hub.test/x", now=NOW, priority=5):
    template = replace(dataset(), name=name, origin=origin, local_root=f"raw/{name.replace('/', '--')}")
    enqueue = Enqueue(rig.writer, template, now=now)
    await enqueue.stage([(folder_of(path), artifact(path), True) for path in paths])
    await enqueue.finish(priority=priority, recipe=None)


def steer(rig):
    return Steering(rig.path)


def run_ats(rig):
    return dict(rows(rig.path, "SELECT id, run_at FROM job"))


def paths(n, folder="data"):
    return [f"{folder}/{number:04}.parquet" for number in range(n)]


@pytest.mark.parametrize(("what", "name"), [("kind", "download"), ("dataset", "org/a"), ("host", "a.test")])
async def test_what_is_paused_is_claimed_by_no_engine_and_all_of_it_comes_back(rig, what, name):
    await put(rig, "org/a", paths(5), origin="https://a.test:8443/x")
    await put(rig, "org/b", paths(5), origin="https://b.test/x", now=NOW + 1)
    before = run_ats(rig)
    with steer(rig) as steering:
        assert steering.pause([(what, name)], now=NOW) == 1
        assert steering.pause([(what, name)], now=NOW) == 0
    claimed = [job for owner in ("one", "two") for job in await rig.take(100, owner=owner, now=LATER)]
    assert {job.dataset_id for job in claimed} == (set() if what == "kind" else {2})
    for job in claimed:
        back = GiveBack(outcome="released", run_at=job.id + NOW, failures=0)
        await rig.jobs(job.owner).give_back(job, back, now=LATER)
    with steer(rig) as steering:
        assert steering.resume([(what, name)]) == [(what, name)]
    assert len(await rig.take(100, now=LATER)) == 10
    after = run_ats(rig)
    assert all(after[id_] == pytest.approx(at, abs=1e-5) for id_, at in before.items() if id_ <= 5)
    assert_sound(rig.path)


async def test_two_engines_that_claim_while_somebody_pauses_and_resumes_take_each_job_once_and_no_paused_one(rig):
    await put(rig, "org/a", paths(60))
    await put(rig, "org/b", paths(60), now=NOW + 1)
    writers = [Writer(open_writer(rig.path), rig.path) for _ in range(2)]
    engines = [Jobs(writer, f"engine {n}") for n, writer in enumerate(writers)]
    taken = []

    def toggle(how):
        with steer(rig) as steering:
            steering.pause([("dataset", "org/a")], now=NOW) if how == "pause" else steering.resume(None)

    async def claims():
        found = await asyncio.gather(*(engine.claim("download", 3, now=LATER, lease_s=LEASE_S) for engine in engines))
        taken.extend(job for jobs in found for job in jobs)
        return {job.dataset_id for jobs in found for job in jobs}

    try:
        for _ in range(6):
            await asyncio.gather(asyncio.to_thread(toggle, "pause"), claims(), claims())
            assert 1 not in await claims()
            await asyncio.gather(asyncio.to_thread(toggle, "resume"), claims())
        while await claims():
            pass
    finally:
        for writer in writers:
            writer.close()
    assert len(taken) == len({job.id for job in taken}) == 120
    assert_sound(rig.path)


async def test_what_comes_back_comes_in_its_old_order(rig):
    await put(rig, "org/a", paths(50))
    with steer(rig) as steering:
        steering.pause([("dataset", "org/a")], now=NOW)
        steering.resume(None)
    claimed = await rig.take(50, now=LATER)
    assert [job.path for job in claimed] == paths(50)


async def test_a_dataset_that_two_pauses_name_stays_away_until_both_are_lifted(rig):
    await put(rig, "org/a", paths(3), origin="http://a.test/x")
    with steer(rig) as steering:
        steering.pause([("dataset", "org/a"), ("host", "a.test")], now=NOW)
        steering.resume([("dataset", "org/a")])
        assert all(at >= AWAY_S for at in run_ats(rig).values())
        assert await rig.take(9, now=LATER) == []
        steering.resume([("host", "a.test")])
    assert len(await rig.take(9, now=LATER)) == 3


async def test_what_is_enqueued_or_given_back_while_paused_is_not_claimed_and_is_not_in_the_way(rig):
    await put(rig, "org/a", paths(2))
    (held, *_) = await rig.take(1)
    with steer(rig) as steering:
        steering.pause([("dataset", "org/a")], now=NOW)
    await rig.jobs().give_back(held, GiveBack(outcome="retry", run_at=NOW, failures=1), now=NOW)
    await put(rig, "org/a", paths(3000, "late"))
    await put(rig, "org/b", paths(4), now=NOW + 1)
    claimed = await rig.take(3, now=LATER)
    assert [job.path for job in claimed] == paths(3)
    with steer(rig) as steering:
        steering.resume(None)
    rest = [job for _ in range(40) for job in await rig.take(100, now=LATER)]
    assert len(rest) == 2 + 3000 + 1
    assert len({job.id for job in rest}) == len(rest)
    assert_sound(rig.path)


async def test_one_claim_moves_a_bounded_number_out_of_its_way_and_the_next_ones_go_on(rig, monkeypatch):
    monkeypatch.setattr(steering, "WINDOW", 10)
    monkeypatch.setattr(steering, "MAX_WINDOWS", 3)
    await put(rig, "org/b", ["z"], now=NOW + 1)
    with steer(rig) as steered:
        await put(rig, "org/a", ["first"], now=NOW)
        steered.pause([("dataset", "org/a")], now=NOW)
    await put(rig, "org/a", paths(50))
    assert await rig.take(1, now=LATER) == []
    assert sum(at >= AWAY_S for at in run_ats(rig).values()) == 1 + 1 + 10 + 10
    claimed = [await rig.take(1, now=LATER) for _ in range(3)]
    assert [job.path for jobs in claimed for job in jobs] == ["z"]


@pytest.mark.parametrize(
    "origin",
    ["http://a.test", "https://A.test/x/y", "https://a.test:8443", "http://[::1]:80/x", "http://[::1]", "https://a.tester",
     "https://xa.test", "https://b.test/a.test", "https://b.test/x://a.test/", "https://a.test.", "s3://a.test/x"],
)  # fmt: skip
@pytest.mark.parametrize("host", ["a.test", "::1", "b.test"])
async def test_a_host_is_read_off_an_origin_as_status_reads_it(rig, origin, host):
    await put(rig, "org/a", ["x"], origin=origin)
    with steer(rig) as steering:
        steering.pause([("host", host)], now=NOW)
    assert (await rig.take(1, now=LATER) == []) is (host_of(origin) == host)


async def test_files_of_this_machine_have_no_host(rig):
    template = replace(dataset(), source="local", origin="/data/a.test", name="a.test")
    enqueue = Enqueue(rig.writer, template, now=NOW)
    await enqueue.stage([("", artifact("x"), True)])
    await enqueue.finish(priority=5, recipe=None)
    with steer(rig) as steering:
        steering.pause([("host", "a.test"), ("host", "data")], now=NOW)
    assert len(await rig.take(1, now=LATER)) == 1


async def test_paused_jobs_are_counted_and_show_no_time_in_the_far_future(rig):
    await put(rig, "org/a", paths(4), origin="http://a.test")
    await put(rig, "org/b", paths(2), origin="http://b.test")
    (job,) = await rig.take(1)
    back = GiveBack(outcome="retry", run_at=LATER, failures=1, error_class="timeout", error_text="slow")
    await rig.jobs().give_back(job, back, now=NOW)
    with Reader(rig.path) as reader, steer(rig) as steering:
        assert reader.n_paused(["download"]) == 0
        assert reader.errors()[0].next_retry_at == LATER
        steering.pause([("host", "a.test")], now=NOW)
        assert reader.n_paused(["download"]) == 4
        assert reader.n_paused(["verify"]) == 0
        assert reader.errors()[0].next_retry_at is None
        assert next(reader.failed_jobs("timeout")).is_paused is True
        steering.pause([("kind", "download")], now=NOW)
        assert reader.n_paused(["download"]) == 6
        steering.resume(None)
        assert reader.n_paused(["download"]) == 0
        assert reader.errors()[0].next_retry_at == pytest.approx(LATER)
        assert next(reader.failed_jobs("timeout")).is_paused is False


async def test_a_dataset_that_comes_from_another_host_by_now_is_held_by_the_pauses_of_that_one_alone(rig):
    await put(rig, "org/a", paths(3), origin="http://a.test/x")
    await put(rig, "org/b", paths(3), origin="http://b.test/x")
    with steer(rig) as steering:
        steering.pause([("host", "a.test")], now=NOW)
        await put(rig, "org/a", paths(3), origin="http://c.test/x")
        await put(rig, "org/b", paths(3), origin="http://a.test/x")
        away = rows(rig.path, f"SELECT DISTINCT dataset_id FROM job WHERE run_at >= {AWAY_S}")
        assert away == [(2,)]
        assert {job.dataset_id for job in await rig.take(9, now=LATER)} == {1}
        steering.resume(None)
        assert {job.dataset_id for job in await rig.take(9, now=LATER)} == {2}
    assert all(at < AWAY_S for at in run_ats(rig).values())


async def test_files_of_this_machine_that_come_to_a_paused_dataset_are_held(rig):
    local = replace(dataset(), source="local", origin="/data/a", name="a", revision="")
    how = How(recipe=recipe(), priority=5, force=False, lost=(), now=NOW)

    async def put_files(subset):
        inputs = Inputs(rig.writer, local)
        await inputs.stage([(subset, f"{subset}/x.parquet", 10**9, 1)])
        await inputs.finish(how)

    await put_files("one")
    with steer(rig) as steering:
        steering.pause([("dataset", "a")], now=NOW)
        await put_files("two")
        assert await rig.take(9, kind="verify", now=LATER) == []
        steering.resume(None)
    assert len(await rig.take(9, kind="verify", now=LATER)) == 2


async def test_a_claim_that_looks_for_pauses_costs_the_same_however_many_datasets_nobody_has_paused(rig):
    await put(rig, "org/a", ["x"], origin="http://a.test/x")
    with steer(rig) as steered:
        steered.pause([("host", "b.test"), ("dataset", "org/b")], now=NOW)

    def n_steps():
        steps = []
        rig.connection.set_progress_handler(lambda: steps.append(1) or False, 1)
        assert not steering.pauses(rig.connection).has_datasets
        rig.connection.set_progress_handler(None)
        return len(steps)

    few = n_steps()
    await put(rig, "org/c", [f"{n}/x" for n in range(300)], origin="http://c.test/x")
    assert 0 < n_steps() == few


def test_the_jobs_of_a_class_are_searched_among_those_that_failed(rig):
    plan = rows(rig.path, f"EXPLAIN QUERY PLAN {sql.queries('reads.sql')['ids_of_error'].replace(':error_class', '0')}")
    assert any("job_error (kind=? AND error_class=?)" in str(row[3]) for row in plan), plan


def test_what_moves_with_its_dataset_is_searched_among_the_jobs_of_that_dataset(rig):
    plan = rows(rig.path, f"EXPLAIN QUERY PLAN {re.sub(':[a-z]+', '0', sql.queries()['shift_some'])}")
    assert any("(dataset_id=?" in str(row[3]) for row in plan), plan


def test_lifting_a_pause_searches_the_index_of_what_can_be_claimed(rig):
    plan = rows(rig.path, f"EXPLAIN QUERY PLAN {sql.queries()['bring_back']}")
    assert any("USING INDEX job_available (kind=? AND priority=? AND run_at>?)" in row[3] for row in plan), plan


async def fail(rig, job, *, error_class="not_found", text="gone"):
    await rig.jobs(job.owner).discard(job, now=NOW, error_class=error_class, error_text=text)


async def test_a_retry_gives_what_was_discarded_all_its_tries_again_and_hurries_what_waits(rig):
    await put(rig, "org/a", paths(4))
    gone, waiting, running = await rig.take(3)
    untried = next(id_ for id_ in run_ats(rig) if id_ not in (gone.id, waiting.id, running.id))
    await fail(rig, gone)
    back = GiveBack(outcome="retry", run_at=LATER, failures=3, error_class="timeout", error_text="slow")
    await rig.jobs().give_back(waiting, back, now=NOW)
    with steer(rig) as steering:
        dry = would_retry(rig.path, Choice(is_failed=True), now=NOW)
        assert (dry.n_discarded, dry.n_available, dry.n_running) == (1, 1, 0)
        assert steering.retry(Choice(ids=(running.id, untried)), now=NOW).n == 0
        assert [job.id for job in await rig.take(9)] == [untried]
        assert steering.retry(Choice(is_failed=True), now=NOW, only_discarded=True).n == 1
        (again,) = await rig.take(9)
        assert (again.path, again.failures) == (gone.path, 0)
        assert steering.retry(Choice(error_class="timeout"), now=NOW).n_available == 1
        assert [job.path for job in await rig.take(9)] == [waiting.path]
    assert_sound(rig.path)


async def test_all_parts_of_a_choice_must_hold(rig):
    await put(rig, "org/a", paths(2))
    await put(rig, "org/b", paths(2))
    jobs = await rig.take(4)
    for job, error_class in zip(jobs, ("not_found", "forbidden", "not_found", "forbidden"), strict=True):
        await fail(rig, job, error_class=error_class)

    def n(**choice):
        return would_retry(rig.path, Choice(**choice), now=NOW).n

    assert n(is_failed=True) == 4
    assert n(error_class="not_found") == 2
    assert n(datasets=("org/a",)) == 2
    assert n(datasets=("org/a",), error_class="not_found") == 1
    assert n(datasets=("org/a", "org/b"), error_class="not_found", kind="download") == 2
    assert n(error_class="not_found", kind="verify") == 0
    assert n(ids=(jobs[0].id, jobs[1].id, 99)) == 2
    assert n(ids=(jobs[0].id, jobs[1].id), error_class="forbidden") == 1
    assert n(datasets=("org/a",), subset="other") == 0
    assert n(datasets=("org/a",), subset="data", revision="a" * 40) == 2
    assert n(datasets=("org/a",), revision="b" * 40) == 0
    with pytest.raises(ValueError, match="nothing was chosen"):
        n()


async def test_a_stage_that_refused_its_file_is_tried_again_by_fetching_the_file_again(rig):
    await put(rig, "org/a", paths(2))
    downloads = await rig.take(2)
    for job in downloads:
        await rig.finish(job)
    refused, fine = await rig.take(2, kind="verify")
    await fail(rig, refused, error_class="not_parquet")
    await rig.finish(fine)
    with steer(rig) as steering:
        assert steering.retry(Choice(is_failed=True), now=NOW).n == 1
    assert states(rig.path) == {refused.path: "available", fine.path: "completed"}
    assert await rig.take(9, kind="verify") == []
    (again,) = await rig.take(9)
    await rig.finish(again)
    assert [job.path for job in await rig.take(9, kind="verify")] == [refused.path]
    assert_sound(rig.path)


async def test_a_stage_that_failed_for_another_reason_is_tried_itself(rig):
    await put(rig, "org/a", paths(1))
    (download,) = await rig.take(1)
    await rig.finish(download)
    (verify,) = await rig.take(1, kind="verify")
    await fail(rig, verify, error_class="crashed")
    with steer(rig) as steering:
        assert steering.retry(Choice(error_class="crashed"), now=NOW).n == 1
    assert [job.id for job in await rig.take(9, kind="verify")] == [verify.id]


async def test_what_is_paused_stays_paused_when_it_is_retried(rig):
    await put(rig, "org/a", paths(2))
    gone, waiting = await rig.take(2)
    await fail(rig, gone)
    back = GiveBack(outcome="retry", run_at=LATER, failures=3, error_class="not_found", error_text="slow")
    await rig.jobs().give_back(waiting, back, now=NOW)
    with steer(rig) as steering:
        steering.pause([("dataset", "org/a")], now=NOW)
        assert steering.retry(Choice(error_class="not_found"), now=NOW + 5).n == 2
        assert run_ats(rig)[waiting.id] == NOW + 5 + AWAY_S
        assert await rig.take(9, now=LATER) == []
        steering.resume(None)
    assert len(await rig.take(9, now=NOW + 6)) == 2


async def test_what_is_paused_is_counted_apart_whether_it_waits_or_was_discarded_and_nothing_twice(rig):
    await put(rig, "org/a", paths(3))
    await put(rig, "org/b", paths(1), now=NOW + 1)
    gone, waiting, _running, other = await rig.take(4, now=LATER)
    for job in (gone, other):
        await fail(rig, job)
    back = GiveBack(outcome="retry", run_at=LATER + 1, failures=3, error_class="timeout", error_text="slow")
    await rig.jobs().give_back(waiting, back, now=NOW)
    failed = Choice(is_failed=True)
    with steer(rig) as steering:
        steering.pause([("dataset", "org/a")], now=NOW)
        tally = would_retry(rig.path, failed, now=NOW)
        assert (tally.n_paused, tally.n_discarded, tally.n_available, tally.n) == (2, 1, 0, 3)
        cancelled = would_cancel(rig.path, Choice(datasets=("org/a",)), now=NOW)
        assert (cancelled.n_paused, cancelled.n_discarded, cancelled.n_running, cancelled.n) == (1, 1, 1, 3)
        steering.pause([("kind", "download")], now=NOW)
        assert would_retry(rig.path, failed, now=NOW).n_paused == 3
        assert steering.retry(failed, now=NOW).n_paused == 3
        assert await rig.take(9, now=LATER) == []
        steering.resume(None)
    assert len(await rig.take(9, now=LATER)) == 3


def test_to_count_what_a_verb_would_do_leaves_a_queue_of_an_earlier_version_as_it_was(tmp_path):
    failed = (
        "UPDATE job SET state = 'running', owner = 'me', lease_until = 9 WHERE id = 1;"
        "UPDATE job SET state = 'discarded', owner = NULL, lease_until = NULL, ended_at = 9, error_class = 'dns' WHERE id = 1;"
    )
    for version in VERSIONS:
        path = of_version(version, tmp_path / f"{version}.sqlite", FILLED + failed)
        before = path.read_bytes()
        assert would_retry(path, Choice(is_failed=True), now=NOW).n_discarded == 1
        assert would_cancel(path, Choice(datasets=("org/name",)), now=NOW).n == 2
        assert path.read_bytes() == before
        assert [one.name for one in tmp_path.glob(f"{version}.*")] == [path.name]


async def test_a_cancel_ends_what_is_unfinished_and_leaves_the_rest(rig):
    await put(rig, "org/a", paths(4))
    await put(rig, "org/b", paths(1), now=NOW + 1)
    done, gone, running = await rig.take(3)
    await rig.finish(done)
    await fail(rig, gone)
    with steer(rig) as steering:
        tally = would_cancel(rig.path, Choice(datasets=("org/a",)), now=NOW)
        assert (tally.n_available, tally.n_running, tally.n_discarded) == (2, 1, 1)  # the verify job of the first, too
        assert tally.left_bytes == 300
        assert steering.cancel(Choice(datasets=("org/a",)), now=NOW) == tally
        assert steering.cancel(Choice(datasets=("org/a",)), now=NOW).n == 0
    assert rows(rig.path, f"SELECT state FROM job WHERE id = {done.id}") == [("completed",)]
    assert await rig.jobs().renew(now=NOW, lease_s=60.0) == {}  # the engine finds out
    assert [job.path for job in await rig.take(9, now=LATER)] == [paths(1)[0]]
    taken_over = rows(rig.path, f"SELECT state, take_over FROM job WHERE id = {running.id}")
    assert taken_over == [("cancelled", 1)]
    assert_sound(rig.path)


def test_steering_makes_no_queue(tmp_path):
    with pytest.raises(ConfigError, match="there is no queue"):
        Steering(tmp_path / "queue.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_sees_counters_that_differ_and_rows_without_what_they_belong_to(tmp_path):
    path = tmp_path / "queue.sqlite"
    connection = open_writer(path)
    connection.execute("INSERT INTO dataset VALUES (1, 'a', '', '', 'url', 'http://h', 'r', 'text', 1.0)")
    connection.execute("INSERT INTO job (dataset_id, kind, path, run_at, created_at) VALUES (1, 'download', 'x', 1, 1)")
    with Reader(path) as reader:
        assert (reader.faults(), reader.wrong_counters()) == ([], [])
        connection.execute("UPDATE counter SET n = 7")
        assert reader.wrong_counters() == [(1, "download", "available")]
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DELETE FROM dataset")
        assert reader.faults() == ["a row of job belongs to none of dataset"]
    connection.close()
