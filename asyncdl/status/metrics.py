"""The queue as Prometheus and OpenMetrics text: a collector over one snapshot, without global state.

Every value is read from the queue or the disk when it is asked for, so that two scrapes agree with `status --json` and
a restart loses no count. Labels hold names from outside, each through `display`; what that makes equal is added up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from asyncdl import __version__
from asyncdl.core.names import display
from asyncdl.status.hosts import HostState
from asyncdl.status.snapshot import EngineState, Snapshot

FENCED = "fenced"
RESCUED = ("rescued", "orphaned")
"""Outcomes of attempts whose lease ended before they did: it expired, or its engine had died."""

MAX_HOSTS = 50
"""Series of each figure of hosts; a list of URLs may have thousands of them. Guess."""

OTHERS = "(others)"
"""The label of the hosts beyond MAX_HOSTS, together; no host can have this name (RFC 1123 2.1)."""

_OPENMETRICS = "application/openmetrics-text"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the queue's file and of its write-ahead log."""

    queue_bytes: int
    wal_bytes: int


def sizes(queue: Path) -> Sizes:
    return Sizes(_size(queue), _size(Path(f"{queue}-wal")))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def exposed(figures: Figures, accept: str) -> tuple[bytes, str]:
    """Return the text and its content type: OpenMetrics 1.0 where `accept`, an Accept header, names it."""
    if _OPENMETRICS in accept:
        text: bytes = openmetrics.generate_latest(figures)  # type: ignore[no-untyped-call]
        return text, openmetrics.CONTENT_TYPE_LATEST
    return exposition.generate_latest(figures), exposition.CONTENT_TYPE_PLAIN_0_0_4


@dataclass(frozen=True, slots=True)
class Figures(Collector):
    """attempts: {(outcome, error class): n}, as `Reader.attempt_sums` has them. n_taken: snapshots of this process;
    took_s: for the last one.
    """

    shot: Snapshot
    attempts: Mapping[tuple[str, str], int]
    sizes: Sizes
    n_taken: int
    took_s: float

    def collect(self) -> Iterator[Metric]:
        """Yield every family; one whose value nobody knows is left out."""
        info = InfoMetricFamily("asyncdl_build", "The version that answers.")
        info.add_metric([], {"version": __version__})
        yield info
        yield from self._work()
        yield from self._datasets()
        yield from _hosts(self.shot)
        yield from self._attempts()
        yield from _engines(self.shot)
        yield from self._machine()

    def _work(self) -> Iterator[Metric]:
        shot = self.shot
        jobs = (((kind, state), float(n)) for kind, counts in shot.jobs.items() for state, n in counts.items())
        yield _gauge("asyncdl_jobs", "Jobs by kind and state.", ("kind", "state"), jobs)
        yield _one(
            "asyncdl_known_bytes", "Bytes of the downloads that are not cancelled, as far as known.", shot.known_bytes
        )
        yield _one("asyncdl_done_bytes", "Bytes of them on disk; falls when one is fetched anew.", shot.done_bytes)
        if shot.remaining_bytes is not None:
            yield _one(
                "asyncdl_remaining_bytes", "Bytes to fetch; absent where a size is unknown.", shot.remaining_bytes
            )
        yield _one("asyncdl_rate_bytes_per_second", "Body bytes per second of the engines that are alive.", shot.per_s)
        if shot.eta_s is not None:
            yield _one("asyncdl_eta_seconds", "Seconds until the last byte; absent where nobody can know.", shot.eta_s)

    def _datasets(self) -> Iterator[Metric]:
        known: Counter[str] = Counter()
        done: Counter[str] = Counter()
        for row in self.shot.datasets:
            known[display(row.name)] += row.known_bytes
            done[display(row.name)] += row.done_bytes
        yield _gauge("asyncdl_dataset_known_bytes", "Known bytes of one dataset.", ("dataset",), _labelled(known))
        yield _gauge("asyncdl_dataset_done_bytes", "Its bytes on disk.", ("dataset",), _labelled(done))
        paused = (((row.what, display(row.name)), 1.0) for row in self.shot.paused)
        yield _gauge("asyncdl_paused", "What a person has paused.", ("what", "name"), paused)
        gates = (((display(host),), left_s) for host, left_s in self.shot.pauses)
        yield _gauge("asyncdl_gate_closed_seconds", "Seconds until a host may be asked again.", ("host",), gates)

    def _attempts(self) -> Iterator[Metric]:
        ended = (
            ((outcome, display(name)), float(n)) for (outcome, name), n in self.attempts.items() if outcome != FENCED
        )
        yield _counter(
            "asyncdl_attempts", "Attempts that did not complete their job.", ("outcome", "error_class"), ended
        )
        yield CounterMetricFamily(
            "asyncdl_lease_expiries",
            "Attempts whose lease ended before they did, or whose engine died.",
            sum(n for (outcome, _), n in self.attempts.items() if outcome in RESCUED),
        )

        yield CounterMetricFamily(
            "asyncdl_fence_rejections",
            "Settles that came too late: the lease had ended, and the job was another's.",
            sum(n for (outcome, _), n in self.attempts.items() if outcome == FENCED),
        )

    def _machine(self) -> Iterator[Metric]:
        yield CounterMetricFamily("asyncdl_snapshots", "Snapshots that this page took of the queue.", self.n_taken)
        yield _one("asyncdl_snapshot_seconds", "How long the last one took.", self.took_s)
        yield _one("asyncdl_queue_bytes", "Size of the queue's file.", self.sizes.queue_bytes)
        yield _one("asyncdl_queue_wal_bytes", "Size of the queue's write-ahead log.", self.sizes.wal_bytes)
        disk = self.shot.disk
        if disk is not None:
            yield _one("asyncdl_disk_free_bytes", "Bytes free for us where the data goes.", disk.free_bytes)
        if disk is not None and disk.free_inodes is not None:
            yield _one("asyncdl_disk_free_inodes", "Inodes free for us where the data goes.", disk.free_inodes)


_Values = Iterable[tuple[tuple[str, ...], float]]


def _gauge(name: str, text: str, labels: tuple[str, ...], values: _Values) -> Metric:
    return _filled(GaugeMetricFamily(name, text, labels=labels), values)


def _counter(name: str, text: str, labels: tuple[str, ...], values: _Values) -> Metric:
    return _filled(CounterMetricFamily(name, text, labels=labels), values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: _Values) -> Metric:
    """Add (label values, value). Of two with the same labels the last counts: a series that stands there twice is
    refused with all the rest of the scrape.
    """
    for given, value in dict(values).items():
        family.add_metric(given, value)
    return family


def _hosts(shot: Snapshot) -> Iterator[Metric]:
    """What living engines have to do with hosts, by name, so that the same ones have a series at each scrape."""
    asked = [host for host in shot.hosts if host.is_asked]
    n_named = MAX_HOSTS if len(asked) <= MAX_HOSTS else MAX_HOSTS - 1
    rows = [(display(host.name) if n < n_named else OTHERS, host) for n, host in enumerate(asked)]

    def sums(figure: Callable[[HostState], float]) -> _Values:
        found: dict[str, float] = {}
        for name, host in rows:
            found[name] = found.get(name, 0.0) + figure(host)
        return (((name,), value) for name, value in found.items())

    each = ("host",)
    yield _gauge("asyncdl_host_requests", "Requests open.", each, sums(lambda host: host.n_open))
    yield _gauge("asyncdl_host_bytes_per_second", "Body bytes per second.", each, sums(lambda host: host.per_s))
    firsts = (((name,), host.first_byte_s) for name, host in rows if host.first_byte_s is not None and name != OTHERS)
    yield _gauge("asyncdl_host_first_byte_seconds", "From a request to its answer, smoothed.", each, firsts)
    text = "Answers 429 and 503 to the engines that are alive; begins anew when one of them ends."
    yield _counter("asyncdl_host_refusals", text, each, sums(lambda host: host.n_refused))


_Family = Callable[[str, str, tuple[str, ...], _Values], Metric]


def _engines(shot: Snapshot) -> Iterator[Metric]:
    alive = sum(engine.is_alive for engine in shot.engines)
    counts = ((("alive",), float(alive)), (("dead",), float(len(shot.engines) - alive)))
    yield _gauge("asyncdl_engines", "Engines that have not ended, by whether they are alive.", ("state",), counts)

    def each(name: str, text: str, values: Iterable[tuple[EngineState, float]], make: _Family = _gauge) -> Metric:
        rows = (((display(engine.host), str(engine.pid)), value) for engine, value in values)
        return make(name, text, ("host", "pid"), rows)

    yield each(
        "asyncdl_engine_beat_age_seconds",
        "Seconds since an engine said that it lives.",
        ((engine, max(shot.at - engine.beat_at, 0.0)) for engine in shot.engines),
    )
    living = [engine for engine in shot.engines if engine.is_alive]
    yield each("asyncdl_engine_requests", "Requests open.", ((engine, engine.n_requests) for engine in living))
    yield each("asyncdl_engine_workers", "Slots.", ((engine, engine.workers) for engine in living))
    telling = [engine for engine in living if engine.cores is not None]
    yield each(
        "asyncdl_engine_cpu_seconds",
        "Processor seconds since it started, children included.",
        ((engine, engine.cpu_s) for engine in telling),
        _counter,
    )
    yield each("asyncdl_engine_memory_bytes", "Resident memory.", ((engine, engine.rss_bytes) for engine in telling))
    yield each(
        "asyncdl_engine_loop_lag_seconds",
        "How late its event loop woke up at its last beat.",
        ((engine, engine.loop_lag_s) for engine in telling),
    )
    yield each(
        "asyncdl_engine_pool_busy", "Worker processes with a task.", ((engine, engine.n_pool) for engine in telling)
    )


def _labelled(sums: Mapping[str, int]) -> Iterator[tuple[tuple[str], float]]:
    return (((name,), float(n)) for name, n in sums.items())


def _one(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)
