"""The pool outlives every death of a child, wherever it comes; each task has an end."""

import asyncio
import multiprocessing
import os
import signal
from dataclasses import dataclass

import pytest

from asyncdl.demo import corpus_dir
from asyncdl.engine.attempts import WorkerCrashError
from asyncdl.engine.pool import Pool
from asyncdl.errors import TransferError
from workers.contract import InspectTokenizerTask, Rejected, Verified, VerifyTask

GOOD = VerifyTask(
    path=str(corpus_dir() / "data" / "swe_Latn" / "train" / "000_00000.parquet"),
    size_bytes=None, required_columns=("text",), decode=False,
)  # fmt: skip


@dataclass(frozen=True)
class Deadly:
    """A task that ends the child that reads it, before it can say that it has it."""

    signum: int = signal.SIGKILL

    def __reduce__(self):
        return _die, (self.signum,)


def _die(signum):
    os.kill(os.getpid(), signum)


def workers():
    return [child for child in multiprocessing.active_children() if child.is_alive()]


async def test_a_task_has_an_outcome(tmp_path):
    with Pool(2) as pool:
        assert isinstance(await pool.run(GOOD, timeout_s=30), Verified)
        missing = VerifyTask(path=str(tmp_path / "no"), size_bytes=None, required_columns=(), decode=False)
        outcome = await pool.run(missing, timeout_s=30)
        assert isinstance(outcome, Rejected)
        assert outcome.error_class == "missing_file"


@pytest.mark.parametrize("n_processes", [1, 2])
async def test_children_that_die_while_they_have_nothing_to_do_are_replaced(n_processes):
    with Pool(n_processes) as pool:
        for _ in range(3):
            assert isinstance(await outcome_of(pool), Verified)
            for child in workers():
                os.kill(child.pid, signal.SIGKILL)
                await asyncio.to_thread(child.join)
        outcomes = [outcome_of(pool) for _ in range(4)]
        assert all(isinstance(outcome, Verified) for outcome in await asyncio.gather(*outcomes))


async def outcome_of(pool):
    """As the queue does: a task that met a broken pool is tried again."""
    for _ in range(3):
        try:
            return await pool.run(GOOD, timeout_s=30)
        except TransferError as error:
            assert error.error_class in ("worker_error", "worker_crashed")
    raise AssertionError("the pool does not come back")


async def test_a_child_that_dies_as_it_takes_a_task_does_not_leave_it_without_an_end(tmp_path, monkeypatch):
    """It dies with the lock of the channel in its hand, and nobody learns that it had the task."""
    monkeypatch.setattr("asyncdl.engine.pool.START_S", 2.0)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with Pool(2) as pool:
        busy = asyncio.create_task(pool.run(InspectTokenizerTask(path=str(fifo)), timeout_s=30))
        opened = await asyncio.to_thread(os.open, fifo, os.O_WRONLY)  # the other child is at work
        async with asyncio.timeout(20):
            with pytest.raises(TransferError, match="no worker took the task"):
                await pool.run(Deadly(), timeout_s=0.5)
            assert isinstance(await outcome_of(pool), Verified)
        busy.cancel()
        await asyncio.wait((busy,))
        os.close(opened)


async def test_a_task_that_takes_too_long_is_a_crash(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with Pool(1) as pool:
        with pytest.raises(WorkerCrashError) as caught:
            await pool.run(InspectTokenizerTask(path=str(fifo)), timeout_s=0.5)
        assert caught.value.error_class == "worker_timeout"
        assert isinstance(await pool.run(GOOD, timeout_s=30), Verified)


async def test_no_child_is_left_when_the_pool_is():
    with Pool(2) as pool:
        await asyncio.gather(*(pool.run(GOOD, timeout_s=30) for _ in range(4)))
        assert workers()
    assert not workers()
