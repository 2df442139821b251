"""/metrics over real queues: both formats are read by Prometheus' own parsers, and say what the database says."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from asyncdl.core.hops import GateName
from asyncdl.core.model import Traffic
from asyncdl.core.names import safe_path
from asyncdl.demo.faults import Fault
from asyncdl.demo.hub import DemoHub
from asyncdl.demo.repos import GeneratedFile, Repo
from asyncdl.status import metrics
from asyncdl.store.hosts import Hosts
from asyncdl.store.jobs import Beat, GiveBack
from tests.integration.test_web import STORABLE, plant, plant_again
from tests.support.engine import REPO, Bench
from tests.support.web_page import TOKEN, fill, serving
from tests.unit.status.test_snapshot import ORG, enqueue, start, writing

OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
CLASSES = ["http_5xx", "http_5xx", "timeout", "dns"]


@pytest.fixture
def queue(tmp_path):
    return tmp_path / "queue.sqlite"


async def scrape(page, accept=""):
    """{(name, its labels): value}, refused by the parser if it is no such text. Types and units are in it."""
    async with page.get("/metrics", Accept=accept) as answer:
        assert answer.status == 200
        text, kind = await answer.text(), answer.headers["Content-Type"]
    assert kind.startswith("application/openmetrics-text" if accept else "text/plain")
    families = list((open_families if accept else text_families)(text))
    samples = [(one.name, frozenset(one.labels.items()), one.value) for family in families for one in family.samples]
    found = {(name, labels): value for name, labels, value in samples}
    assert len(found) == len(samples), "a series stands there twice"
    return found


def value(found, name, **labels):
    return found[name, frozenset(labels.items())]


async def faulty(queue, now):
    """A run in which every end that an attempt can have happened."""
    async with writing(queue) as writer:
        await enqueue(writer, {f"data/swe/{n}": 10 + n for n in range(20)} | {"data/deu/x": None}, now=now - 200)
        await enqueue(writer, {"other/a": 5}, now=now - 200, dataset=replace(ORG, name="org/other"))
        jobs = await start(writer, now=now - 100, per_s=12.5)
        for error_class in CLASSES:
            (job,) = await jobs.claim("download", 1, now=now - 90, lease_s=60)
            back = GiveBack(outcome="retry", run_at=now + 90, failures=1, error_class=error_class, error_text="x")
            await jobs.give_back(job, back, now=now - 80)
        (job,) = await jobs.claim("download", 1, now=now - 90, lease_s=60)
        await jobs.discard(job, now=now - 80, error_class="gone", error_text="410")
        for job in await jobs.claim("download", 7, now=now - 90, lease_s=60):
            await jobs.complete(job, now=now - 80, size_bytes=job.size_bytes, result={}, children=())
        lost = await start(writer, owner="lost", identity="gone", now=now - 90)
        await lost.claim("download", 3, now=now - 90, lease_s=10)
        assert await jobs.rescue(now=now, grace_s=0) == 3
        await jobs.claim("download", 2, now=now, lease_s=60)
        beat = Beat(per_s=12.5, n_requests=7, cpu_s=30.5, rss_bytes=2**20, loop_lag_s=0.25, n_pool=3)
        await jobs.beat(beat, [Traffic("a.test", 7, 16, 12.5, 0.25, 4)], now=now)
        await Hosts(writer).close_gate(GateName("b.test"), until=now + 1000, now=now)


def rows(queue, statement):
    with sqlite3.connect(queue) as connection:
        found = connection.execute(statement).fetchall()
    connection.close()
    return found


@pytest.mark.parametrize("accept", ["", OPEN])
async def test_the_figures_are_those_of_the_database(queue, accept):
    await faulty(queue, time.time())
    with sqlite3.connect(queue) as connection:
        connection.execute("INSERT INTO attempt VALUES (1, 99, 'o', 1.0, 2.0, 'orphaned', 'engine_died', 'it ended')")
    connection.close()
    async with serving(queue) as page:
        found = await scrape(page, accept)
    jobs = {(kind, state): n for kind, state, n in rows(queue, "SELECT kind, state, count(*) FROM job GROUP BY 1, 2")}
    assert {key: n for key, n in found.items() if key[0] == "asyncdl_jobs"} == {
        ("asyncdl_jobs", frozenset({"kind": kind, "state": state}.items())): n for (kind, state), n in jobs.items()
    }
    attempts = rows(queue, "SELECT outcome, coalesce(error_class, ''), count(*) FROM attempt GROUP BY 1, 2")
    assert {key: n for key, n in found.items() if key[0] == "asyncdl_attempts_total"} == {
        ("asyncdl_attempts_total", frozenset({"outcome": outcome, "error_class": name}.items())): n
        for outcome, name, n in attempts
    }
    ((known, done),) = rows(queue, "SELECT sum(size_bytes), sum(done_bytes) FROM job WHERE state <> 'cancelled'")
    assert (value(found, "asyncdl_known_bytes"), value(found, "asyncdl_done_bytes")) == (known, done)
    assert value(found, "asyncdl_lease_expiries_total") == 3 + 1
    assert value(found, "asyncdl_dataset_known_bytes", dataset="org/other") == 5


async def test_what_nobody_knows_is_left_out(queue):
    await faulty(queue, time.time())  # one size is unknown
    async with serving(queue) as page:
        names = {name for name, _ in await scrape(page)}
    assert not names & {"asyncdl_remaining_bytes", "asyncdl_eta_seconds"}
    queue.unlink()
    await fill(queue, {"a": 10})
    async with serving(queue) as page:
        assert value(await scrape(page), "asyncdl_remaining_bytes") == 10


async def test_engines_gates_disk_and_log_are_told(queue):
    await faulty(queue, time.time())
    async with serving(queue) as page:
        found = await scrape(page)
        wal = (queue.parent / "queue.sqlite-wal").stat().st_size if (queue.parent / "queue.sqlite-wal").exists() else 0
        assert value(found, "asyncdl_queue_wal_bytes") == wal
    assert value(found, "asyncdl_queue_bytes") == queue.stat().st_size
    assert value(found, "asyncdl_engines", state="alive") == 1
    assert value(found, "asyncdl_rate_bytes_per_second") == 12.5
    told = {name: n for (name, _), n in found.items() if name.startswith("asyncdl_engine_")}
    assert {
        name: told[f"asyncdl_engine_{name}"]
        for name in ("requests", "cpu_seconds_total", "memory_bytes", "loop_lag_seconds", "pool_busy")
    } == {"requests": 7, "cpu_seconds_total": 30.5, "memory_bytes": 2**20, "loop_lag_seconds": 0.25, "pool_busy": 3}
    assert 900 < value(found, "asyncdl_gate_closed_seconds", host="b.test") <= 1000
    room = os.statvfs(queue.parent)
    assert room.f_files == 0 or value(found, "asyncdl_disk_free_inodes") > 0
    assert value(found, "asyncdl_disk_free_bytes") > 0


HOST_FIGURES = ("requests", "bytes_per_second", "first_byte_seconds", "refusals_total")


async def host_figures(queue, traffic):
    async with writing(queue) as writer:
        await Hosts(writer).remember_pace("0.test", hint=8, cap=None, now=time.time())  # nobody asks it for anything
        jobs = await start(writer, now=time.time())
        await jobs.beat(Beat(per_s=1.0, n_requests=1), traffic, now=time.time())
    async with serving(queue) as page:
        found = await scrape(page, OPEN)
    told = {}
    for (name, labels), n in found.items():
        if name.startswith("asyncdl_host_"):
            told.setdefault(dict(labels)["host"], {})[name.removeprefix("asyncdl_host_")] = n
    return {host: tuple(one.get(name) for name in HOST_FIGURES) for host, one in told.items()}


async def test_what_engines_have_to_do_with_each_host_is_told(queue):
    traffic = [Traffic("a.test", 7, 16, 12.5, 0.25, 4), Traffic("b.test", 0, 2, 0.0, None, 0)]
    assert await host_figures(queue, traffic) == {"a.test": (7, 12.5, 0.25, 4), "b.test": (0, 0, None, 0)}


async def test_hosts_are_so_many_series_at_most_and_their_sums_are_whole(queue):
    names = [f"h{n:03}.test" for n in range(80)]
    told = await host_figures(queue, [Traffic(name, 1, 2, 0.5, 0.25, 3) for name in names])
    assert len(told) == metrics.MAX_HOSTS
    assert [sum(one[n] for one in told.values()) for n in (0, 1, 3)] == [80, 40.0, 240]
    assert told.pop(metrics.OTHERS)[2] is None
    assert list(told) == names[: metrics.MAX_HOSTS - 1]
    assert metrics.OTHERS not in await host_figures(queue.with_name("q2"), [Traffic("h", 1, 2, 0.5, 0.25, 3)])


async def test_hosts_that_look_alike_are_one_series(queue):
    told = await host_figures(queue, [Traffic(name, 1, 2, 0.5, 0.25, 3) for name in ("h\u200b", "h\\u200b")])
    assert told == {"h\\u200b": (2, 1.0, 0.25, 6)}


async def test_datasets_that_look_alike_are_one_series(queue):
    """Two names may become one on their way through display; a series that stands there twice spoils the scrape."""
    async with writing(queue) as writer:
        for root, name in (("raw/1", "org/a\u200b"), ("raw/2", "org/a\\u200b")):
            await enqueue(writer, {"x": 5}, dataset=replace(ORG, name=name, local_root=safe_path(root)))
    async with serving(queue) as page:
        assert value(await scrape(page), "asyncdl_dataset_known_bytes", dataset="org/a\\u200b") == 10


async def test_names_from_outside_do_not_break_the_text(queue):
    await fill(queue, {"data/swe/000": 10, "data/deu/a": 7}, fail=[("http_5xx", "busy")])
    async with serving(queue, every_s=0) as page:
        plant(queue, "plain")
        usual = Counter(name for name, _ in await scrape(page))
        for name in STORABLE:
            plant_again(queue, name)
            for accept in ("", OPEN):
                assert Counter(one for one, _ in await scrape(page, accept)) == usual, repr(name)


async def test_a_scrape_needs_the_token_and_may_bear_it(queue):
    await fill(queue, {"a": 1})
    async with serving(queue, token=TOKEN) as page:
        async with page.get("/metrics") as answer:
            assert answer.status == 401
        async with page.get("/metrics", Authorization=f"Bearer {TOKEN}") as answer:
            assert answer.status == 200


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=x; escaping=y", "a" * 4000, ",;=,", "*/*"])
async def test_an_odd_accept_header_is_answered(queue, accept):
    await fill(queue, {"a": 1})
    async with serving(queue) as page, page.get("/metrics", Accept=accept) as answer:
        assert answer.status == 200
        assert "x" not in answer.headers["Content-Type"].partition("version=")[2]


DOCS = Path(__file__).parents[2] / "docs"


async def test_the_docs_name_every_metric_and_no_other(queue):
    """The rules and panels ask for series that there are, and so does the table."""
    now = time.time()
    await faulty(queue, now)
    async with writing(queue) as writer:
        await writer.write(
            lambda connection: connection.execute("UPDATE job SET size_bytes = 1 WHERE size_bytes IS NULL").fetchall()
        )
        await writer.write(
            lambda connection: connection.execute("INSERT INTO pause VALUES ('host', 'c.test', 1.0)").fetchall()
        )
    async with serving(queue) as page:
        told = {name for name, _ in await scrape(page)}
    named = {
        path.name: set(re.findall(r"\basyncdl_[a-z_]+", path.read_text(encoding="utf-8")))
        for path in (DOCS / "WEB.md", DOCS / "metrics" / "alerts.yml", DOCS / "metrics" / "grafana.json")
    }
    assert named.pop("WEB.md") == told
    assert all(names and names <= told for names in named.values()), named


def rules():
    """{alert: its expression}"""
    text = (DOCS / "metrics" / "alerts.yml").read_text(encoding="utf-8")
    return dict(re.findall(r"- alert: (\w+)\n +expr: (.*)", text))


def test_nobody_is_woken_for_work_that_a_person_has_paused():
    assert {name for name, expr in rules().items() if expr.endswith(" unless on (instance, job) asyncdl_paused")} == {
        "AsyncdlStandsStill",
        "AsyncdlHasNoEngine",
    }


def test_one_kill_wakes_nobody_however_many_leases_it_ends():
    """All leases of an engine end at once, so it is the times that count."""
    assert rules()["AsyncdlLeasesExpire"].startswith("changes(asyncdl_lease_expiries_total[1h]) > ")


def test_the_dashboard_is_json_with_a_query_in_each_panel():
    board = orjson.loads((DOCS / "metrics" / "grafana.json").read_bytes())
    assert all(target["expr"] for panel in board["panels"] for target in panel["targets"])


async def test_after_a_run_with_faults_the_attempts_are_those_that_the_engine_told(tmp_path, monkeypatch):
    """Two accounts of one run that know nothing of each other: its events, and what a scrape counts."""
    monkeypatch.setattr("asyncdl.core.retry.SEGMENT_BASE_DELAY_S", 1e-4)
    monkeypatch.setattr("asyncdl.core.retry.BASE_DELAY_S", 1e-3)
    monkeypatch.setattr("asyncdl.engine.scheduler.LOOK_EVERY_S", 0.02)
    bench = Bench(tmp_path)
    repo = Repo(REPO, {f"{n}.parquetx": GeneratedFile(1_200_000, seed=n) for n in range(6)})
    faults = [
        Fault("status", origin="cdn", path="1*", status=500, times=8),
        Fault("missing", origin="hub", path="*2.*"),
    ]
    async with DemoHub([repo], faults=faults) as hub:
        bench.endpoint = hub.endpoint
        await bench.enqueue_repo(hub)
        await bench.run()
    told = {key: n for key, n in bench.told.outcomes().items() if key[0] != "completed"}
    async with serving(bench.queue) as page:
        found = await scrape(page, OPEN)
    assert len(told) == 2
    assert {
        (dict(labels)["outcome"], dict(labels)["error_class"]): n
        for (name, labels), n in found.items()
        if name == "asyncdl_attempts_total"
    } == told
    states = Counter(bench.states().values())
    assert {state: value(found, "asyncdl_jobs", kind="download", state=state) for state in states} == states
