"""Calls in threads: waited for to their end whatever happens to the caller, and handed back in batches."""

import asyncio
import threading

import pytest

from asyncdl.engine.threads import N_DISK_THREADS, Threads
from asyncdl.errors import TransferError

WAIT_S = 30.0  # a hang is a failure


class Held:
    """A function that stays in its thread until `go_on` is set, then returns `value` or raises `error`."""

    def __init__(self, error=None):
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.is_over = False
        self._error = error

    def __call__(self, value=None):
        self.entered.set()
        assert self.go_on.wait(WAIT_S)
        self.is_over = True
        if self._error is not None:
            raise self._error
        return value


@pytest.fixture
async def threads():
    made = Threads()
    yield made
    made.close()


async def under_way(threads, held):
    """A task that waits for `held`, which has been entered."""
    task = asyncio.create_task(threads.call(held))
    await asyncio.sleep(0)
    assert held.entered.wait(WAIT_S)
    return task


async def turns(n):
    for _ in range(n):
        await asyncio.sleep(0)


async def test_a_call_returns_what_the_function_returns_and_raises_what_it_raises(threads):
    assert await threads.call(divmod, 7, 2) == (3, 1)
    assert await threads.call(sorted, [1, 3, 2], reverse=True) == [3, 2, 1]
    with pytest.raises(ZeroDivisionError):
        await threads.call(divmod, 7, 0)


async def test_the_threads_are_full_while_each_has_a_call_and_not_after(threads):
    held = Held()
    calls = [await under_way(threads, held) for _ in range(N_DISK_THREADS - 1)]
    assert not threads.is_full
    calls += [await under_way(threads, held) for _ in range(3)]
    assert threads.is_full
    held.go_on.set()
    await asyncio.gather(*calls)
    assert not threads.is_full


@pytest.mark.parametrize("n_cancels", [1, 2, 5])
async def test_a_cancelled_caller_waits_for_its_thread_all_the_same(threads, n_cancels):
    held = Held()
    task = await under_way(threads, held)
    for _ in range(n_cancels):
        task.cancel()
        await turns(3)
        assert not task.done()
    held.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert held.is_over


async def test_what_the_function_raises_goes_before_the_cancellation(threads):
    """A failed fsync is told once: who does not hear of it takes the next one's success for the truth."""
    held = Held(TransferError("disk_failed", "fsync"))
    task = await under_way(threads, held)
    task.cancel()
    await turns(3)
    held.go_on.set()
    with pytest.raises(TransferError, match="fsync"):
        await task


async def test_a_cancellation_that_comes_after_the_end_is_not_swallowed(threads):
    """Between the thread's end and the caller's next step there is a turn of the loop."""
    held = Held()
    task = await under_way(threads, held)
    held.go_on.set()
    threads.close()  # its end is noted; the loop has not had its turn yet
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_many_ends_wake_the_loop_once(monkeypatch):
    threads, loop = Threads(), asyncio.get_running_loop()
    all_held = [Held() for _ in range(N_DISK_THREADS)]
    tasks = [await under_way(threads, held) for held in all_held]
    n_wakes, wake = 0, loop.call_soon_threadsafe

    def counted(*args):
        nonlocal n_wakes
        n_wakes += 1
        return wake(*args)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    for held in all_held:
        held.go_on.set()
    threads.close()  # all have ended while the loop was busy with this
    assert n_wakes == 1
    assert await asyncio.gather(*tasks) == [None] * N_DISK_THREADS


async def test_ends_that_come_after_the_loop_has_looked_wake_it_again(threads):
    for _ in range(3):
        held = Held()
        task = await under_way(threads, held)
        held.go_on.set()
        async with asyncio.timeout(WAIT_S):
            await task


async def test_close_waits_for_what_the_threads_do():
    threads, held = Threads(), Held()
    task = await under_way(threads, held)
    threading.Timer(0.05, held.go_on.set).start()
    threads.close()
    assert held.is_over
    await task


async def test_more_calls_than_threads_all_come_to_their_end(threads):
    assert await asyncio.gather(*(threads.call(divmod, n, 3) for n in range(100))) == [divmod(n, 3) for n in range(100)]
