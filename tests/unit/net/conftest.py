from types import SimpleNamespace

import pytest

from asyncdl.net import gates


class Clock:
    """Monotonic seconds that pass only in sleeps. at_sleep: called, one a sleep, before the time passes."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []
        self.at_sleep = []

    async def sleep(self, delay_s):
        if self.at_sleep:
            self.at_sleep.pop(0)()
        self.slept.append(delay_s)
        self.now += delay_s


@pytest.fixture
def clock(monkeypatch):
    """The gates' own clock, so that an hour's pause takes no time."""
    clock = Clock()
    monkeypatch.setattr(gates, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(gates, "asyncio", SimpleNamespace(sleep=clock.sleep))
    return clock
