"""Which request goes wrong, and how: rules that are matched one by one, first that fires wins.

Pure bookkeeping, so that the same requests in the same order meet the same faults; what a fault does to an
answer is in `spoil`, what it does to a connection in `wire`.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

Origin = Literal["hub", "cdn"]
FaultKind = Literal[
    "hang_up",  # reset before any answer
    "drop",  # reset after `after_bytes` of the body
    "early_end",  # an orderly end (FIN) after `after_bytes` of the body, shorter than announced
    "stall",  # nothing more after `after_bytes` of the body, until the client goes away
    "slow",  # `bytes_per_s`
    "status",  # `status`, with `retry_after` and `rate_limit` as headers where given
    "late_status",  # the route does what it is asked to; then `status` is answered, as a gateway does that gave up
    "missing",  # 404, though it was listed
    "html",  # 200 and a web page
    "redirect_loop",  # 302 to itself
    "redirect_to",  # 302 to `location`
    "range_ignored",  # 200 and the whole file
    "range_shifted",  # bytes and Content-Range `delta_bytes` beside what was asked
    "flipped",  # one bit of the body's byte number `after_bytes`, or of its last byte
    "changed",  # another object: other ETag, other bytes, same size
    "expired_url",  # the hub signs a URL that has already expired
    "wrong_length",  # Content-Length off by `delta_bytes`
    "wrong_total",  # the total in Content-Range off by `delta_bytes`
    "gzip",  # gzip, whatever the client accepts
]


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule: which requests it matches, which of those it strikes, and what it does to them.

    kind: see FaultKind. origin: None for both. path: a glob (`*` crosses slashes) that the path in the repo
    or the URL path must match. Of the matching requests the first `skip` pass, then every `every`-th is
    struck, with `probability` (from `seed`), `times` times at most.
    after_bytes: of the body; for drop, early_end and stall a body no longer than that is not a match.
    retry_after, rate_limit: header values.
    """

    kind: FaultKind
    origin: Origin | None = None
    path: str = "*"
    skip: int = 0
    every: int = 1
    times: int | None = None
    probability: float = 1.0
    seed: int = 0
    after_bytes: int = 0
    delta_bytes: int = 1
    bytes_per_s: float = 0.0
    status: int = 503
    retry_after: str | None = None
    rate_limit: str | None = None
    location: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise ValueError(f"unknown fault {self.kind!r}; there are {', '.join(get_args(FaultKind))}")
        if self.kind == "slow" and self.bytes_per_s <= 0:
            raise ValueError("slow needs bytes_per_s above 0")
        if self.every < 1:
            raise ValueError("every counts from 1")


_DEFAULTS = asdict(Fault("drop"))


def faults_to_json(faults: Iterable[Fault]) -> list[dict[str, Any]]:
    """Only what differs from the defaults; `faults_from_json` gives the same rules back."""
    return [
        {"kind": fault.kind}
        | {key: value for key, value in asdict(fault).items() if key != "kind" and value != _DEFAULTS[key]}
        for fault in faults
    ]


def faults_from_json(rows: Iterable[dict[str, Any]]) -> list[Fault]:
    """Raises ValueError for an unknown kind, TypeError for an unknown field."""
    return [Fault(**row) for row in rows]


class FaultBook:
    """The rules in force, with their counts. The first rule that fires ends the search for that request."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._rules = [_Rule(fault) for fault in faults]

    def strike(
        self, origin: Origin, paths: Sequence[str], kinds: Collection[str], *, body_bytes: int | None = None
    ) -> Fault | None:
        """The fault for a request to `origin` known by any of `paths`.

        A request counts only for rules of `kinds`, and only for those that reach into a body of `body_bytes`.
        """
        for rule in self._rules:
            reaches = body_bytes is None or rule.fault.after_bytes < body_bytes
            if rule.fault.kind in kinds and reaches and rule.fires(origin, paths):
                return rule.fault
        return None


class _Rule:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._random = random.Random(fault.seed)
        self._n_matched = 0
        self._n_fired = 0

    def fires(self, origin: Origin, paths: Sequence[str]) -> bool:
        fault = self.fault
        if fault.origin not in (None, origin) or not any(fnmatchcase(path, fault.path) for path in paths):
            return False
        self._n_matched += 1
        if fault.times is not None and self._n_fired >= fault.times:
            return False
        n_counted = self._n_matched - fault.skip
        if n_counted < 1 or n_counted % fault.every or self._random.random() >= fault.probability:
            return False
        self._n_fired += 1
        return True
