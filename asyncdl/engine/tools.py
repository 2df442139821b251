"""What every attempt of an engine shares. Built once by `engine.run`, owned there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from asyncdl.core.events import Event
from asyncdl.engine.disk_gate import DiskGate
from asyncdl.engine.leases import Leases
from asyncdl.engine.meter import Meter
from asyncdl.engine.pacing import Pacing
from asyncdl.engine.publisher import Publisher
from asyncdl.engine.threads import Threads
from asyncdl.net.client import Client
from asyncdl.net.rate import RateGate
from asyncdl.store.jobs import Jobs


@dataclass(frozen=True, slots=True)
class Tools:
    client: Client
    jobs: Jobs
    leases: Leases
    threads: Threads
    publisher: Publisher
    disk_gate: DiskGate
    pacing: Pacing
    rate_gate: RateGate
    meter: Meter
    listen: Callable[[Event], None]
