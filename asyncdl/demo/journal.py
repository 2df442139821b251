"""What the hub has seen and sent: one record per request, and totals per origin.

Records are written while a request runs, so a stalled one is visible. Keeps the last MAX_REQUESTS records;
totals count everything. Knows nothing of repositories.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from asyncdl.demo.faults import Origin

MAX_REQUESTS = 20_000


@dataclass(slots=True)
class Request:
    """path: in the repo where the request is for a file, else the URL path. url: as received, with query.

    status: 0 until an answer is begun (and for a connection reset before one). bytes_sent: of the body.
    fault: the kind that struck, or None.
    """

    origin: Origin
    method: str
    path: str
    url: str
    headers: dict[str, str]
    status: int = 0
    bytes_sent: int = 0
    fault: str | None = None

    @property
    def range(self) -> str | None:
        return self.headers.get("Range")

    @property
    def has_authorization(self) -> bool:
        return "Authorization" in self.headers


@dataclass(slots=True)
class Totals:
    """Of one origin since the hub started. n_open: requests that run; peak_open: the most there ever were.

    bytes_by_path, requests_by_path: keyed as Request.path.
    """

    n_requests: int = 0
    body_bytes: int = 0
    n_authorized: int = 0
    n_open: int = 0
    peak_open: int = 0
    bytes_by_path: Counter[str] = field(default_factory=Counter)
    requests_by_path: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        return {
            "n_requests": self.n_requests,
            "body_bytes": self.body_bytes,
            "n_authorized": self.n_authorized,
            "n_open": self.n_open,
            "peak_open": self.peak_open,
            "bytes_by_path": dict(self.bytes_by_path),
            "requests_by_path": dict(self.requests_by_path),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "faults": dict(self.faults),
        }


class Journal:
    def __init__(self) -> None:
        self.requests: deque[Request] = deque(maxlen=MAX_REQUESTS)
        self.totals: dict[Origin, Totals] = {"hub": Totals(), "cdn": Totals()}

    @contextmanager
    def open(self, request: Request) -> Iterator[None]:
        """Record a request, which is open until the block ends."""
        self.requests.append(request)
        totals = self.totals[request.origin]
        totals.n_requests += 1
        totals.n_open += 1
        totals.peak_open = max(totals.peak_open, totals.n_open)
        totals.n_authorized += request.has_authorization
        totals.requests_by_path[request.path] += 1
        try:
            yield
        finally:
            totals.n_open -= 1

    def answered(self, request: Request, status: int) -> None:
        request.status = status
        self.totals[request.origin].statuses[status] += 1

    def struck(self, request: Request, kind: str) -> None:
        request.fault = kind
        self.totals[request.origin].faults[kind] += 1

    def sent(self, request: Request, n_bytes: int) -> None:
        request.bytes_sent += n_bytes
        totals = self.totals[request.origin]
        totals.body_bytes += n_bytes
        totals.bytes_by_path[request.path] += n_bytes
