"""What is known of each host, and what the engines that are alive have to do with it just now. Pure.

A host appears once: remembered, asked just now, or both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from asyncdl.store.reader import HostRow, TrafficRow


@dataclass(frozen=True, slots=True, kw_only=True)
class HostState:
    """The first five: as in HostRow. The others: of the engines that are alive, together.

    n_open, n_allowed: requests; n_allowed 0: no engine asks it for anything. per_s: body bytes. first_byte_s: from a
    request to its answer, None before the first. n_refused: answers 429 and 503 since each engine began.
    """

    name: str
    connections_hint: int | None = None
    connections_cap: int | None = None
    paced_at: float | None = None
    closed_until: float | None = None
    n_open: int = 0
    n_allowed: int = 0
    per_s: float = 0.0
    first_byte_s: float | None = None
    n_refused: int = 0

    @property
    def is_asked(self) -> bool:
        """Whether an engine that is alive works with it."""
        return self.n_allowed > 0


def joined(known: Iterable[HostRow], traffic: Iterable[TrafficRow], living: Collection[str]) -> tuple[HostState, ...]:
    """Return every host of `known` and of the traffic of `living`, owners of engines, in the order of their names."""
    remembered = {row.name: row for row in known}
    shares: dict[str, list[TrafficRow]] = {}
    for share in traffic:
        if share.owner in living:
            shares.setdefault(share.host, []).append(share)
    return tuple(_host(name, remembered.get(name), shares.get(name, ())) for name in sorted(remembered.keys() | shares))


def _host(name: str, row: HostRow | None, shares: Sequence[TrafficRow]) -> HostState:
    return HostState(
        name=name,
        connections_hint=row and row.connections_hint,
        connections_cap=row and row.connections_cap,
        paced_at=row and row.paced_at,
        closed_until=row and row.closed_until,
        n_open=sum(one.n_open for one in shares),
        n_allowed=sum(one.n_allowed for one in shares),
        per_s=sum(one.per_s for one in shares),
        first_byte_s=_first_byte_s(shares),
        n_refused=sum(one.n_refused for one in shares),
    )


def _first_byte_s(shares: Iterable[TrafficRow]) -> float | None:
    """The mean over requests that are open; over engines where none is."""
    known = [(one.n_open, one.first_byte_s) for one in shares if one.first_byte_s is not None]
    if not known:
        return None
    weights = [n for n, _ in known] if any(n for n, _ in known) else [1] * len(known)
    return sum(weight * s for weight, (_, s) in zip(weights, known, strict=True)) / sum(weights)
