"""Files that come together are published together, and each gets its own answer."""

import asyncio
import hashlib
import os
import threading

import pytest

from asyncdl.core.model import Digest, Job
from asyncdl.core.names import safe_path
from asyncdl.disk import whole
from asyncdl.engine import publisher
from asyncdl.engine.publisher import MAX_BATCH, N_LANES, Publisher
from asyncdl.engine.threads import Threads
from asyncdl.errors import LeaseLostError, StoreError, TransferError

WAIT_S = 30.0  # a hang is a failure


def job(n, digest=None):
    return Job(
        id=n, kind="download", dataset_id=1, recipe_id=None, path=safe_path(f"f{n}"), owner="me", attempt=1,
        failures=0, size_bytes=None, digest=digest, had="", validator=None, take_over=False, n_mismatches=0,
    )  # fmt: skip


def content(n):
    return memoryview(b"%d" % n * 100)


class Looks:
    """The leases as the queue knows them. asked: the ids of each look. lost: of those that do not hold."""

    def __init__(self, lost=()):
        self.asked = []
        self.lost = set(lost)
        self.error = None

    async def are_held(self, jobs):
        self.asked.append([job.id for job in jobs])
        if self.error is not None:
            raise self.error
        return [job.id not in self.lost for job in jobs]


class Desk:
    """A Publisher, and what the test puts on it."""

    def __init__(self, folder):
        self.folder = folder
        self.threads = Threads()
        self.looks = Looks()
        self.publisher = Publisher(self.threads, self.looks)

    def put(self, n, digest=None):
        place = self.folder / f"f{n}"
        return asyncio.create_task(self.publisher.publish(job(n, digest), place, content(n)), name=f"f{n}")

    def found(self):
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}


@pytest.fixture
async def desk(tmp_path):
    made = Desk(tmp_path / "data")
    made.folder.mkdir()
    yield made
    made.threads.close()


class HeldSync:
    """The first sync of a file waits until `go_on`."""

    def __init__(self, monkeypatch):
        self.entered, self.go_on = threading.Event(), threading.Event()
        self._real = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, fd):
        if not self.entered.is_set():
            self.entered.set()
            assert self.go_on.wait(WAIT_S)
        return self._real(fd)

    async def is_entered(self):
        assert await asyncio.to_thread(self.entered.wait, WAIT_S)


@pytest.fixture
def held(monkeypatch):
    made = HeldSync(monkeypatch)
    yield made
    made.go_on.set()


@pytest.fixture
def one_lane(monkeypatch):
    monkeypatch.setattr(publisher, "ONE_MORE_AFTER_S", 1e9)


async def turns(n=5):
    for _ in range(n):
        await asyncio.sleep(0)


async def test_a_file_that_comes_alone_is_published_and_its_digests_returned(desk):
    found = await desk.put(1, Digest("md5", hashlib.md5(content(1)).hexdigest()))
    assert (found.hexdigest(), found.sha256()) == (
        hashlib.md5(content(1)).hexdigest(),
        hashlib.sha256(content(1)).hexdigest(),
    )
    assert desk.found() == {"f1": bytes(content(1))}


@pytest.mark.usefixtures("one_lane")
async def test_those_that_come_while_others_are_on_their_way_go_together(desk, held):
    first = desk.put(0)
    await held.is_entered()
    others = [desk.put(n) for n in range(1, MAX_BATCH + 3)]
    await turns()
    assert desk.looks.asked == [[0]]
    held.go_on.set()
    await asyncio.gather(first, *others)
    assert desk.looks.asked == [[0], [*range(1, MAX_BATCH + 1)], [MAX_BATCH + 1, MAX_BATCH + 2]]
    assert desk.found() == {f"f{n}": bytes(content(n)) for n in range(MAX_BATCH + 3)}


async def test_a_batch_that_takes_long_holds_up_no_other_and_there_is_an_end_to_how_many(desk, monkeypatch):
    monkeypatch.setattr(publisher, "ONE_MORE_AFTER_S", -1.0)
    go_on = asyncio.Event()

    async def slow(jobs):
        desk.looks.asked.append([job.id for job in jobs])
        await go_on.wait()
        return [True] * len(jobs)

    desk.looks.are_held = slow
    tasks = []
    for n in range(N_LANES + 2):
        tasks.append(desk.put(n))
        await turns()
    assert desk.looks.asked == [[n] for n in range(N_LANES)]
    monkeypatch.setattr(publisher, "ONE_MORE_AFTER_S", 1e9)
    go_on.set()
    await asyncio.gather(*tasks)
    assert desk.looks.asked[N_LANES:] == [[N_LANES, N_LANES + 1]]


@pytest.mark.usefixtures("one_lane")
async def test_a_wrong_digest_costs_its_own_file_which_is_kept_aside(desk, held):
    first = desk.put(0)
    await held.is_entered()
    others = [desk.put(n, Digest("sha256", "0" * 64) if n == 2 else None) for n in range(1, 4)]
    await turns()
    held.go_on.set()
    answers = await asyncio.gather(first, *others, return_exceptions=True)
    assert desk.looks.asked[1:] == [[1, 2, 3]]
    assert [getattr(answer, "error_class", None) for answer in answers] == [None, None, "digest_mismatch", None]
    assert desk.found().keys() == {"f0", "f1", "f2.corrupted", "f3"}


@pytest.mark.usefixtures("one_lane")
async def test_a_lease_that_is_lost_costs_its_own_file_of_which_nothing_is_touched(desk, held):
    first = desk.put(0)
    await held.is_entered()
    desk.looks.lost.add(2)
    others = [desk.put(n) for n in range(1, 4)]
    await turns()
    held.go_on.set()
    answers = await asyncio.gather(first, *others, return_exceptions=True)
    assert [isinstance(answer, LeaseLostError) for answer in answers] == [False, False, True, False]
    assert desk.found().keys() == {"f0", "f1", "f3"}


async def test_a_queue_that_cannot_be_asked_is_told_to_all_of_the_batch_and_the_next_is_tried(desk):
    desk.looks.error = StoreError("the queue is gone")
    for answer in await asyncio.gather(*(desk.put(n) for n in range(3)), return_exceptions=True):
        assert isinstance(answer, StoreError)
    assert desk.found() == {}
    desk.looks.error = None
    await desk.put(4)


async def test_a_cancelled_caller_waits_for_the_thread_that_reads_its_bytes(desk, held):
    task = desk.put(1)
    await held.is_entered()
    for _ in range(3):
        task.cancel()
        await turns()
        assert not task.done()
    held.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert desk.found() == {"f1": bytes(content(1))}


async def test_what_the_disk_says_goes_before_the_cancellation(desk, held, monkeypatch):
    task = desk.put(1)
    await held.is_entered()
    task.cancel()
    monkeypatch.setattr(whole, "rename_within", lambda *_: os.stat("/nowhere"))
    held.go_on.set()
    with pytest.raises(TransferError):
        await task


@pytest.mark.usefixtures("one_lane")
async def test_of_a_caller_that_is_cancelled_before_its_batch_began_nothing_comes(desk, held):
    first = desk.put(0)
    await held.is_entered()
    others = [desk.put(n) for n in range(1, 4)]
    await turns()
    others[1].cancel()
    await turns()
    held.go_on.set()
    answers = await asyncio.gather(first, *others, return_exceptions=True)
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [False, False, True, False]
    assert desk.found().keys() == {"f0", "f1", "f3"}


async def test_on_a_slow_disk_a_batch_is_synced_by_several_threads_at_once(desk, monkeypatch):
    """None of the syncs ends before as many are under way as there may be."""
    monkeypatch.setattr(whole, "PATIENCE_S", -1.0)
    together, real = threading.Barrier(publisher.N_SYNCS), os.fsync

    def sync(fd):
        if os.readlink(f"/proc/self/fd/{fd}").endswith(".partial"):
            together.wait(WAIT_S)
        real(fd)

    monkeypatch.setattr(os, "fsync", sync)
    await asyncio.gather(*(desk.put(n) for n in range(publisher.N_SYNCS)))
    assert len(desk.found()) == publisher.N_SYNCS


async def test_a_bug_in_a_slow_batch_leaves_no_descriptor_and_publishes_nothing(desk, monkeypatch):
    monkeypatch.setattr(whole, "PATIENCE_S", -1.0)
    monkeypatch.setattr(os, "fsync", lambda fd: divmod(fd, 0))
    n_open = len(os.listdir("/proc/self/fd"))
    answers = await asyncio.gather(*(desk.put(n) for n in range(3)), return_exceptions=True)
    assert all(isinstance(answer, BaseExceptionGroup) for answer in answers)
    assert len(os.listdir("/proc/self/fd")) == n_open
    assert not desk.found().keys() & {"f0", "f1", "f2"}
