"""Counts what comes in; the numbers on screen and in the heartbeat are made of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Meter:
    """n_bytes: body bytes received since the start, thrown away ones included. n_requests: open now.

    Written by the transfers, read by the heartbeat; both live in the event loop.
    """

    n_bytes: int = 0
    n_requests: int = 0
