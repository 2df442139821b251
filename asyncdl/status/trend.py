"""What only several looks can tell: the rate of each dataset, the cores of each engine, the rates of the last minutes.

Kept in memory by whoever looks again and again, for as long as they look. Knows no clock: a snapshot has its own.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from asyncdl.core.rates import Rate
from asyncdl.core.states import State
from asyncdl.status.snapshot import DatasetState, EngineState, Snapshot

N_RATES = 240
"""Samples of the total rate: four minutes of them, as wide as a wide screen. Guess."""

SAMPLE_EVERY_S = 0.9
"""An engine beats every second; to look more often shows the same value twice."""

TRUSTED_AFTER_S = 3.0
"""The bytes of a dataset move in steps of whole syncs: a rate over less than this is chance. Guess."""

_Key = tuple[str, str, str]


@dataclass(slots=True)
class _Followed:
    """done_bytes: at the last look."""

    since: float
    done_bytes: int
    rate: Rate = field(default_factory=Rate)


class Trend:
    """Give it every snapshot, in order. Owner: one view."""

    def __init__(self) -> None:
        self._datasets: dict[_Key, _Followed] = {}
        self._engines: dict[str, EngineState] = {}
        self._rates: deque[float] = deque(maxlen=N_RATES)
        self._sampled_at: float | None = None

    def follow(self, shot: Snapshot) -> Snapshot:
        """Return `shot` with what it and those before it tell."""
        if self._sampled_at is None or not 0 <= shot.at - self._sampled_at < SAMPLE_EVERY_S:
            self._rates.append(shot.per_s)
            self._sampled_at = shot.at
        rates = [self._per_s(row, shot.at) for row in shot.datasets]
        datasets = tuple(
            row if per_s is None else replace(row, per_s=per_s) for row, per_s in zip(shot.datasets, rates, strict=True)
        )
        self._datasets = {key: self._datasets[key] for key in map(_key, shot.datasets)}
        engines = tuple(self._with_cores(engine) for engine in shot.engines)
        self._engines = {engine.owner: engine for engine in engines}
        return replace(shot, datasets=datasets, engines=engines, rates=tuple(self._rates))

    def _per_s(self, row: DatasetState, at: float) -> float | None:
        followed = self._datasets.setdefault(_key(row), _Followed(at, row.done_bytes))
        followed.rate.add(max(row.done_bytes - followed.done_bytes, 0), at)  # what proved wrong is no rate
        followed.done_bytes = row.done_bytes
        if at - followed.since < TRUSTED_AFTER_S or row.state is State.COMPLETED:
            return None
        return followed.rate.per_s

    def _with_cores(self, engine: EngineState) -> EngineState:
        """The cores since the last beat; between two looks at the same beat, as at the look before."""
        before = self._engines.get(engine.owner)
        if before is None or engine.cores is None or engine.cpu_s < before.cpu_s:
            return engine
        if engine.beat_at <= before.beat_at:
            return replace(engine, cores=before.cores)
        return replace(engine, cores=(engine.cpu_s - before.cpu_s) / (engine.beat_at - before.beat_at))


def _key(row: DatasetState) -> _Key:
    return row.name, row.subset, row.revision
