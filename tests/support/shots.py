"""Snapshots made up for tests of what is shown: each a plausible one with what the test wants changed."""

from __future__ import annotations

from asyncdl.core.states import State
from asyncdl.status.hosts import HostState
from asyncdl.status.snapshot import DatasetState, DiskState, EngineState, Snapshot
from asyncdl.store.reader import ErrorRow, GateRow, PauseRow, RecentRow, RunningRow

NOW = 1_790_000_000.0


def dataset(subset="data/swe_Latn/train", *, name="HuggingFaceFW/fineweb-2", state=State.RUNNING, **other):
    values = {"revision": "a" * 40, "n_files": 4, "n_files_done": 1, "known_bytes": 1000, "done_bytes": 250}
    values |= {"n_discarded": 0, "remaining_bytes": 750, "source": "hub", "origin": "https://huggingface.co/d"} | other
    return DatasetState(name=name, subset=subset, state=state, **values)


def engine(*, is_alive=True, beat_at=NOW - 3, bound="", **other):
    values = {"host": "node-7", "pid": 77, "version": "0.1.0", "workers": 128, "started_at": NOW - 60}
    values |= {"per_s": 2**20, "n_requests": 12, "owner": "engine-1"} | other
    return EngineState(beat_at=beat_at, bound=bound, is_alive=is_alive, **values)


def error(**other):
    values = {"kind": "download", "error_class": "http_503", "n": 412, "last_at": NOW, "next_retry_at": NOW + 12}
    values |= {"n_discarded": 0, "text": "HTTP 503", "path": "data/swe_Latn/train/000_00000.parquet"} | other
    return ErrorRow(**values)


def host(name, closed_until=None, **other):
    values = {"connections_hint": 8, "paced_at": NOW - 60} | other
    return HostState(name=name, closed_until=closed_until, **values)


def asked(name, **other):
    """A host that an engine works with."""
    values = {"n_open": 12, "n_allowed": 16, "per_s": 2.0**20, "first_byte_s": 0.1204, "n_refused": 3} | other
    return host(name, **values)


def gate(name, closed_until, quota=""):
    return GateRow(name, quota, NOW - 10, closed_until)


def paused(what, name):
    return PauseRow(what, name, NOW - 100)


def running(path="data/swe_Latn/train/000_00001.parquet", **other):
    values = {"kind": "download", "name": "HuggingFaceFW/fineweb-2", "subset": "data/swe_Latn/train"}
    values |= {"revision": "a" * 40, "started_at": NOW - 30, "attempt": 1, "size_bytes": 1000, "done_bytes": 500}
    return RunningRow(path=path, **(values | other))


def recent(path="data/swe_Latn/train/000_00002.parquet", **other):
    values = {"at": NOW - 7, "outcome": "retry", "error_class": "http_503", "text": "HTTP 503", "attempt": 2}
    values |= {"kind": "download", "name": "HuggingFaceFW/fineweb-2", "subset": "data/swe_Latn/train"}
    return RecentRow(path=path, **(values | other))


def shot(**other):
    values = {
        "jobs": {"download": {"available": 2, "running": 1, "completed": 1}, "verify": {"completed": 1}},
        "known_bytes": 1000, "done_bytes": 250, "remaining_bytes": 750, "per_s": 10.0, "datasets": (dataset(),),
        "errors": (), "engines": (engine(),), "hosts": (),
    } | other  # fmt: skip
    return Snapshot(at=NOW, **values)


def crowded(names=("data/swe_Latn/train",), text="HTTP 503 busy"):
    """Something in every section, and `names` wherever something from outside is shown."""
    states = list(State)[:4]
    return shot(
        datasets=tuple(
            dataset(f"{n}/{name}", name=name, state=states[n % 4], origin=f"https://{name}", per_s=2.0**n)
            for n, name in enumerate(names)
        ),
        errors=tuple(error(error_class=name, path=name, text=text, n_discarded=n) for n, name in enumerate(names)),
        engines=(
            engine(bound="slots", cores=1.7, rss_bytes=2**28, loop_lag_s=0.003, n_pool=3),
            *(engine(host=name, bound=name, is_alive=False, owner=name) for name in names),
        ),
        hosts=tuple(asked(name, closed_until=NOW + 42) for name in names),
        backends=tuple((name, text) for name in names),
        gates=tuple(gate(name, NOW + 42, name) for name in names),
        running=tuple(running(name) for name in names),
        recent=tuple(recent(name, text=text) for name in names),
        paused=tuple(paused("dataset", name) for name in names),
        disk=DiskState(2**40, 10**6),
        rates=tuple(float(n % 7) for n in range(300)),
    )
