"""What status reads out of a queue, and what it makes of it. Queues are real files, filled through the store."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager

from asyncdl.core.hops import GateName
from asyncdl.core.model import Artifact, Dataset, NewJob, Recipe, Traffic
from asyncdl.core.names import safe_path
from asyncdl.core.states import State
from asyncdl.status import snapshot
from asyncdl.store import place
from asyncdl.store.enqueue import Enqueue
from asyncdl.store.hosts import Hosts
from asyncdl.store.inputs import How, Inputs
from asyncdl.store.jobs import Beat, GiveBack, Jobs
from asyncdl.store.migrate import open_writer
from asyncdl.store.reader import Reader
from asyncdl.store.writer import Writer

NOW = 1_790_000_000.0
ORG = Dataset(
    name="org/name",
    revision="a" * 40,
    subset="",
    source="hub",
    origin="http://127.0.0.1:1",
    local_root=safe_path("raw/org--name"),
    text_field="text",
)


@asynccontextmanager
async def writing(path):
    writer = Writer(open_writer(path), path)
    try:
        yield writer
    finally:
        writer.close()


async def enqueue(writer, files, *, now=NOW, dataset=ORG):
    """files: {path: size or None}."""
    staged = [(path.rpartition("/")[0], Artifact(safe_path(path), size, None), True) for path, size in files.items()]
    work = Enqueue(writer, dataset, now=now)
    await work.stage(staged)
    return await work.finish(priority=5, recipe=None)


async def start(writer, *, owner="me", identity=None, now=NOW, per_s=0.0):
    jobs = Jobs(writer, owner)
    await jobs.start_engine(
        identity=identity or place.identity(os.getpid()), version="0", workers=4, pid=os.getpid(), now=now
    )
    await jobs.beat(Beat(per_s=per_s, n_requests=2), now=now)
    return jobs


async def complete(jobs, kind, *, children=()):
    (job,) = await jobs.claim(kind, 1, now=NOW, lease_s=60)
    await jobs.complete(job, now=NOW, size_bytes=job.size_bytes, result={}, children=children)


def take(path, now=NOW):
    with Reader(path) as reader:
        return snapshot.take(reader, now)


async def test_an_empty_queue_is_all_zeros_and_its_eta_is_zero(tmp_path):
    async with writing(tmp_path / "q"):
        pass
    got = take(tmp_path / "q").to_json()
    assert got["jobs"] == {}
    assert got["bytes"] == {"known": 0, "done": 0, "per_s": 0, "remaining": 0}
    assert (got["eta_s"], got["datasets"], got["errors"], got["engines"]) == (0.0, [], [], [])


async def test_the_json_has_the_keys_of_the_contract(tmp_path):
    async with writing(tmp_path / "q") as writer:
        await enqueue(writer, {"data/swe/a": 10, "data/swe/b": 20, "data/deu/c": 30})
        jobs = await start(writer, per_s=5.0)
        (job,) = await jobs.claim("download", 1, now=NOW, lease_s=60)
        back = GiveBack(outcome="retry", run_at=NOW + 90, failures=1, error_class="http_503", error_text="busy")
        await jobs.give_back(job, back, now=NOW)
        await complete(jobs, "download")
    got = take(tmp_path / "q", NOW + 1).to_json()
    assert got["schema_version"] == 1
    assert got["jobs"] == {"download": {"available": 2, "completed": 1}}
    assert {key: got["bytes"][key] for key in ("known", "done", "per_s")} == {"known": 60, "done": 10, "per_s": 5.0}
    assert got["eta_s"] == 50 / 5.0
    datasets = {row["subset"]: row for row in got["datasets"]}
    assert datasets["data/deu"] | {"name": "org/name", "files": 1, "files_done": 0} == datasets["data/deu"]
    assert (datasets["data/swe"]["bytes"], datasets["data/swe"]["state"]) == (30, "available")
    (error,) = got["errors"]
    assert (error["kind"], error["class"], error["count"], error["next_retry_at"]) == (
        "download",
        "http_503",
        1,
        NOW + 90,
    )
    (engine,) = got["engines"]
    assert (engine["host"], engine["pid"], engine["workers"], engine["beat_at"]) == (
        place.host(),
        os.getpid(),
        4,
        NOW,
    )
    assert engine["alive"] is True


async def test_the_json_says_what_bounds_an_engine_and_what_would_help(tmp_path):
    async with writing(tmp_path / "q") as writer:
        jobs = await start(writer)
        await jobs.beat(Beat(per_s=1.0, n_requests=2, bound="slots"), now=NOW)
        (engine,) = take(tmp_path / "q").to_json()["engines"]
        assert (engine["bound"], engine["bound_text"]) == ("slots", "every slot is taken; raise --workers")
        await jobs.beat(Beat(per_s=1.0, n_requests=2), now=NOW)
        (engine,) = take(tmp_path / "q").to_json()["engines"]
        assert (engine["bound"], engine["bound_text"]) == ("", "")


async def test_the_json_says_what_is_known_of_hosts_and_until_when_they_want_to_be_left_alone(tmp_path):
    async with writing(tmp_path / "q") as writer:
        hosts = Hosts(writer)
        await hosts.remember_pace("a.test", hint=8, cap=12, now=NOW)
        await hosts.close_gate(GateName("a.test", "resolvers"), until=NOW + 10, now=NOW)
        await hosts.close_gate(GateName("b.test"), until=NOW + 42, now=NOW)
    names = ("name", "closed_until", "connections", "connections_cap", "paced_at", "allowed")
    told = take(tmp_path / "q").to_json()["hosts"]
    assert [tuple(row[name] for name in names) for row in told] == [
        ("a.test", NOW + 10, 8, 12, NOW, 0),
        ("b.test", NOW + 42, None, None, None, 0),
    ]
    shot = take(tmp_path / "q", NOW + 20)
    assert [row["closed_until"] for row in shot.to_json()["hosts"]] == [None, NOW + 42]
    assert shot.pauses == [("b.test", 22.0)]


async def test_hosts_have_the_traffic_of_the_engines_that_are_alive_added_up(tmp_path):
    async with writing(tmp_path / "q") as writer:
        await Hosts(writer).remember_pace("b.test", hint=8, cap=12, now=NOW)
        one, two = await start(writer, owner="one"), await start(writer, owner="two")
        silent, ended = await start(writer, owner="silent", now=NOW - 46), await start(writer, owner="ended")
        known, new = Traffic("b.test", 3, 4, 100.0, 0.5, 1), Traffic("a.test", 0, 2, 0.0, None, 0)
        await one.beat(Beat(per_s=1.0, n_requests=2), [known, new], now=NOW)
        await two.beat(Beat(per_s=1.0, n_requests=2), [Traffic("b.test", 1, 16, 11.0, 0.1, 2)], now=NOW)
        await silent.beat(Beat(per_s=1.0, n_requests=2), [Traffic("b.test", 9, 9, 9.0, 9.0, 9)], now=NOW - 46)
        await ended.beat(Beat(per_s=1.0, n_requests=2), [Traffic("c.test", 9, 9, 9.0, 9.0, 9)], now=NOW)
        await ended.end_engine(now=NOW)
    keys = ("name", "connections", "requests", "allowed", "per_s", "first_byte_s", "refused")
    assert [tuple(row[key] for key in keys) for row in take(tmp_path / "q").to_json()["hosts"]] == [
        ("a.test", None, 0, 2, 0.0, None, 0),
        ("b.test", 8, 4, 20, 111.0, (3 * 0.5 + 1 * 0.1) / 4, 3),
    ]


RECIPE = Recipe(
    name="tok-64", tokenizer="tok", tokenizer_path="/t", tokenizer_sha256="a" * 64, eos_id=0, max_seq_length=64
)
FOLDER = Dataset(
    name="books", revision="", subset="", source="local", origin="/data/books", local_root=safe_path("local/books"),
    text_field="",
)  # fmt: skip


async def tokenize_folder(writer, sizes):
    inputs = Inputs(writer, FOLDER)
    await inputs.stage([("", f"{n}.jsonl", size, 1) for n, size in enumerate(sizes)])
    await inputs.finish(How(recipe=RECIPE, priority=5, force=False, lost=(), now=NOW))


async def test_of_files_of_this_machine_what_looks_through_them_is_counted(tmp_path):
    large = 2**30
    async with writing(tmp_path / "q") as writer:
        await enqueue(writer, {"d/a.parquet": 10})
        await tokenize_folder(writer, [large, 2 * large])
        jobs = await start(writer)
        child = NewJob(dataset_id=1, kind="verify", path=safe_path("d/a.parquet"), size_bytes=10)
        await complete(jobs, "download", children=[child])
        (job, *_) = await jobs.claim("verify", 1, now=NOW, lease_s=60)
        await jobs.complete(job, now=NOW, size_bytes=large, result={}, children=())
    shot = take(tmp_path / "q")
    local, fetched = shot.to_json()["datasets"]
    figures = {"name": "books", "files": 2, "files_done": 1, "bytes": 3 * large, "bytes_done": large}
    assert local == local | figures | {"bytes_remaining": 2 * large, "state": "available"}
    assert fetched == fetched | {"name": "org/name", "files": 1, "files_done": 1, "bytes": 10, "bytes_done": 10}
    assert (shot.known_bytes, shot.remaining_bytes) == (10, 0)  # of the downloads, for what the disk must take


async def test_the_json_says_what_makes_the_ids_of_each_recipe_that_made_some(tmp_path):
    async with writing(tmp_path / "q") as writer:
        await tokenize_folder(writer, [1])
        jobs = await start(writer)
        assert take(tmp_path / "q").to_json()["recipes"] == []
        await jobs.note_backend(1, "tokenizers 0.23.3: odd\x1b[2J")
    assert take(tmp_path / "q").to_json()["recipes"] == [
        {"name": "tok-64", "backend": r"tokenizers 0.23.3: odd\x1b[2J"}
    ]


async def test_without_every_size_nobody_knows_the_eta(tmp_path):
    async with writing(tmp_path / "q") as writer:
        await enqueue(writer, {"a": 10, "b": None})
        await start(writer, per_s=5.0)
    shot = take(tmp_path / "q")
    assert (shot.remaining_bytes, shot.eta_s) == (None, None)


async def test_when_only_later_stages_remain_there_is_no_eta_and_the_dataset_is_not_done(tmp_path):
    async with writing(tmp_path / "q") as writer:
        await enqueue(writer, {"d/a.parquet": 10})
        jobs = await start(writer, per_s=5.0)
        child = NewJob(dataset_id=1, kind="verify", path=safe_path("d/a.parquet"), size_bytes=10)
        await complete(jobs, "download", children=[child])
        shot = take(tmp_path / "q")
        assert shot.eta_s is None
        assert shot.datasets[0].state is State.AVAILABLE
        assert shot.datasets[0].n_files_done == 1
        await complete(jobs, "verify")
    shot = take(tmp_path / "q")
    assert (shot.eta_s, shot.datasets[0].state) == (0.0, State.COMPLETED)


async def test_the_bytes_of_discarded_files_do_not_count_as_to_come(tmp_path):
    async with writing(tmp_path / "q") as writer:
        await enqueue(writer, {"a": 10, "b": 30})
        jobs = await start(writer, per_s=10.0)
        (job,) = await jobs.claim("download", 1, now=NOW, lease_s=60)
        await jobs.discard(job, now=NOW, error_class="not_found", error_text="gone")
    shot = take(tmp_path / "q")
    assert (shot.known_bytes, shot.remaining_bytes, shot.eta_s) == (40, 30, 3.0)


async def test_a_dead_engine_is_marked_and_its_rate_does_not_count(tmp_path):
    gone = place.identity(os.getpid()) + "0"  # our pid with another start time: a process that has ended
    async with writing(tmp_path / "q") as writer:
        await enqueue(writer, {"a": 1000})
        await start(writer, owner="gone", identity=gone, per_s=100.0)
        await start(writer, owner="silent", now=NOW - 46, per_s=50.0)
        await start(writer, owner="alive", per_s=7.0)
    shot = take(tmp_path / "q")
    assert {engine.per_s: engine.is_alive for engine in shot.engines} == {100.0: False, 50.0: False, 7.0: True}
    assert shot.per_s == 7.0


def test_the_state_of_a_whole_is_that_of_its_most_unfinished_part():
    assert snapshot.state_of(["completed", "discarded", "available", "running"]) is State.RUNNING
    assert snapshot.state_of(["completed", "discarded", "available"]) is State.AVAILABLE
    assert snapshot.state_of(["completed", "discarded"]) is State.DISCARDED
    assert snapshot.state_of(["completed"]) is State.COMPLETED


async def test_secrets_in_error_texts_are_masked(tmp_path):
    async with writing(tmp_path / "q") as writer:
        await enqueue(writer, {"a": 1})
        jobs = await start(writer)
        (job,) = await jobs.claim("download", 1, now=NOW, lease_s=60)
        await jobs.discard(job, now=NOW, error_class="forbidden", error_text="GET http://h/a?Signature=abcdef\x1b[2J")
    (error,) = take(tmp_path / "q").to_json()["errors"]
    assert "abcdef" not in error["example"]["message"]
    assert "\x1b" not in error["example"]["message"]


async def test_what_is_under_way_and_what_went_wrong_last_are_read_newest_trouble_first(tmp_path):
    async with writing(tmp_path / "q") as writer:
        await enqueue(writer, {"d/a": 10, "d/b": 20, "d/c": None})
        jobs = await start(writer)
        for n, error_class in enumerate(("http_503", "timeout")):
            (job,) = await jobs.claim("download", 1, now=NOW + n, lease_s=60)
            back = GiveBack(outcome="retry", run_at=NOW + 900, failures=1, error_class=error_class, error_text="busy")
            await jobs.give_back(job, back, now=NOW + n)
        (last,) = await jobs.claim("download", 1, now=NOW + 5, lease_s=60)
    shot = take(tmp_path / "q", NOW + 6)
    assert [(row.at, row.error_class, row.attempt, row.path) for row in shot.recent] == [
        (NOW + 1, "timeout", 1, "d/b"),
        (NOW, "http_503", 1, "d/a"),
    ]
    assert [(row.path, row.started_at, row.size_bytes, row.attempt) for row in shot.running] == [
        (last.path, NOW + 5, None, 1)
    ]
    got = shot.to_json()
    assert [row["class"] for row in got["recent"]] == ["timeout", "http_503"]
    assert got["running"][0] | {"path": "d/c", "bytes": None, "bytes_done": 0} == got["running"][0]


async def test_what_a_dataset_still_needs_is_of_its_unfinished_files_and_unknown_with_one_size(tmp_path):
    async with writing(tmp_path / "q") as writer:
        await enqueue(writer, {"a/1": 10, "a/2": 20, "b/1": 5, "b/2": None})
        await complete(await start(writer), "download")
    rows = {row.subset: row for row in take(tmp_path / "q").datasets}
    assert (rows["a"].remaining_bytes, rows["b"].remaining_bytes) == (20, None)
    assert (rows["a"].origin, rows["a"].source, rows["a"].eta_s) == (ORG.origin, "hub", None)
    assert sorted(rows["a"].stages) == [("download", "available", 1), ("download", "completed", 1)]


async def test_each_closed_gate_of_a_host_is_told_and_open_ones_are_not(tmp_path):
    async with writing(tmp_path / "q") as writer:
        hosts = Hosts(writer)
        await hosts.close_gate(GateName("a.test", "api"), until=NOW + 10, now=NOW)
        await hosts.close_gate(GateName("a.test", "resolvers"), until=NOW + 42, now=NOW)
    (row,) = take(tmp_path / "q", NOW + 20).to_json()["hosts"]
    assert row["gates"] == [{"quota": "resolvers", "closed_at": NOW, "closed_until": NOW + 42}]


async def test_what_a_person_paused_is_read(tmp_path):
    async with writing(tmp_path / "q") as writer:
        await writer.write(lambda connection: connection.execute("INSERT INTO pause VALUES ('host', 'a.test', 7)"))
    shot = take(tmp_path / "q")
    assert shot.to_json()["paused"] == [{"what": "host", "name": "a.test", "since": 7.0}]
    assert shot.is_paused("host", "a.test")
    assert not shot.is_paused("dataset", "a.test")


async def test_what_an_engine_feels_is_read_and_its_cores_are_those_since_it_began(tmp_path):
    async with writing(tmp_path / "q") as writer:
        await start(writer, now=NOW - 10)
        await writer.write(
            lambda connection: connection.execute(
                "UPDATE engine SET beat_at = ?, cpu_s = 15, rss_bytes = 7, loop_lag_s = 0.5, n_pool = 2", (NOW,)
            )
        )
    (engine,) = take(tmp_path / "q").to_json()["engines"]
    figures = {name: engine[name] for name in ("cpu_s", "cores", "rss_bytes", "loop_lag_s", "pool_busy")}
    assert figures == {"cpu_s": 15.0, "cores": 1.5, "rss_bytes": 7, "loop_lag_s": 0.5, "pool_busy": 2}


async def test_the_disk_is_what_the_caller_saw(tmp_path):
    async with writing(tmp_path / "q"):
        pass
    with Reader(tmp_path / "q") as reader:
        shot = snapshot.take(reader, NOW, snapshot.DiskState(5, None))
    assert shot.to_json()["disk"] == {"free_bytes": 5, "free_inodes": None}
    assert take(tmp_path / "q").to_json()["disk"] is None


def test_the_host_of_an_origin_is_its_name_alone():
    origins = ["https://u:p@Hub.test:8443/d", "s3://bucket/x", "folder/of/mine", "http://[bad"]
    assert [snapshot.host_of(origin) for origin in origins] == ["hub.test", "", "", ""]
