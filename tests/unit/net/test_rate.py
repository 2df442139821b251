"""One limit for the whole engine: its long run is the limit, and who came first leaves first."""

import asyncio
import random

import pytest

from asyncdl.core.rates import BURST_S
from asyncdl.net.rate import RateGate

MIB = 1 << 20


class Scripted:
    """Seconds that pass only when every sleeper sleeps; then the one to wake first is woken, late_s too late."""

    def __init__(self, late_s=0.0):
        self.now = 5000.0
        self.late_s = late_s
        self.n_slept = 0
        self._sleepers = []

    def clock(self):
        return self.now

    async def sleep(self, delay_s):
        assert delay_s > 0
        self.n_slept += 1
        woken = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + delay_s, len(self._sleepers), woken))
        await woken

    async def run(self, *workers):
        """Run the workers to their end."""
        tasks = [asyncio.ensure_future(worker) for worker in workers]
        while not all(task.done() for task in tasks):
            for _ in range(5):  # whoever can run, runs
                await asyncio.sleep(0)
            if self._sleepers:
                self._sleepers.sort(key=lambda sleeper: sleeper[:2])
                at, _, woken = self._sleepers.pop(0)
                self.now = max(self.now, at + self.late_s)
                woken.done() or woken.set_result(None)
        for task in tasks:
            if not task.cancelled():
                task.result()

    def gate(self, bytes_per_s):
        return RateGate(bytes_per_s, clock=self.clock, sleep=self.sleep)


@pytest.mark.parametrize("n_slots", [1, 7, 128])
@pytest.mark.parametrize("late_s", [0.0, 0.004])
async def test_the_long_run_is_the_limit(n_slots, late_s):
    scripted, limit, chance, passed = Scripted(late_s), 10.0 * MIB, random.Random(7), []

    async def slot():
        while sum(passed) < 600 * MIB:
            n_bytes = chance.randrange(1, 512 << 10)
            await gate.passed(n_bytes)
            passed.append(n_bytes)

    began, gate = scripted.now, scripted.gate(limit)
    await scripted.run(*(slot() for _ in range(n_slots)))
    assert sum(passed) / (scripted.now - began) == pytest.approx(limit, rel=0.02)


async def test_a_slow_network_never_waits():
    scripted = Scripted()
    gate = scripted.gate(10.0 * MIB)
    for _ in range(100):
        scripted.now += 0.1
        await gate.passed(MIB // 2)
    assert scripted.n_slept == 0


async def test_after_a_silence_no_more_than_a_burst_comes_at_once():
    scripted = Scripted()
    gate = scripted.gate(1000.0)
    scripted.now += 3600.0
    await gate.passed(int(1000 * BURST_S))
    assert scripted.n_slept == 0
    began = scripted.now
    await scripted.run(gate.passed(500))
    assert scripted.now - began == pytest.approx(0.5)


async def test_a_block_larger_than_a_burst_passes_when_it_is_paid_for():
    scripted = Scripted()
    began, gate = scripted.now, scripted.gate(1000.0)
    await scripted.run(gate.passed(10_000))
    assert scripted.now - began == pytest.approx(10.0 - BURST_S)


async def test_who_came_first_leaves_first_however_little_the_next_one_wants():
    scripted, left = Scripted(), []
    gate = scripted.gate(1000.0)

    async def slot(name, n_bytes):
        await gate.passed(n_bytes)
        left.append(name)

    await scripted.run(slot("large", 5000), slot("small", 1), slot("middle", 100), slot("last", 1))
    assert left == ["large", "small", "middle", "last"]


async def test_who_is_cancelled_while_it_waits_holds_nobody_up():
    scripted = Scripted()
    began, gate = scripted.now, scripted.gate(1000.0)
    first, second = asyncio.ensure_future(gate.passed(1000)), asyncio.ensure_future(gate.passed(1000))
    await asyncio.sleep(0)
    first.cancel()
    await scripted.run(first, second)
    assert scripted.now - began == pytest.approx(2.0 - BURST_S), "its bytes came all the same"


async def test_the_limit_is_used_up_as_long_as_somebody_waits_for_it():
    scripted = Scripted()
    gate = scripted.gate(1000.0)
    await gate.passed(int(1000 * BURST_S))
    assert gate.spent_s == 0.0, "a burst is free"
    waits = [asyncio.ensure_future(gate.passed(1000)) for _ in range(3)]
    await asyncio.sleep(0)
    assert gate.spent_s == 0.0, "what is to come does not count yet"
    scripted.now += 2.0
    assert gate.spent_s == pytest.approx(2.0), "however many wait"
    await scripted.run(*waits)
    scripted.now += 100.0
    assert gate.spent_s == pytest.approx(3.0), "nobody wants more"
    await scripted.run(gate.passed(int(1000 * BURST_S) + 500))
    assert gate.spent_s == pytest.approx(3.5)


async def test_no_limit_asks_neither_clock_nor_loop():
    def never(*_):
        raise AssertionError

    gate = RateGate(None, clock=never, sleep=never)
    with pytest.raises(StopIteration):
        gate.passed(1 << 40).send(None)
    assert gate.spent_s == 0.0
