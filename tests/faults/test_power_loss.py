"""After a power cut every answered settle is in the queue, and the queue is whole.

A VFS under SQLite writes down every write, truncation and sync, and the test writes down every answer. An image is
the disk after a cut at any of these moments: what was synced is there; of what was not, nothing, a random part, or
torn sectors. Not modelled: directory entries (a file that was made is there) and disks that lie about a sync.
"""

import asyncio
import random
from collections import defaultdict
from pathlib import Path

import apsw
import pytest

from asyncdl.store import migrate
from tests.integration.store.rig import COUNTED, NOW, SCAN, Rig

SECTOR_BYTES = 512
N_JOBS = 240
N_IMAGES = 300
DAMAGES = ("all lost", "some lost", "torn")


class RecordedFile(apsw.VFSFile):
    def __init__(self, vfs: "Recorder", name, flags) -> None:
        self.vfs = vfs
        self.file_name = Path(name.filename() if isinstance(name, apsw.URIFilename) else name).name if name else ""
        super().__init__(vfs.real, name, flags)

    def xWrite(self, data, offset):
        self.vfs.note("write", self.file_name, offset, bytes(data))
        return super().xWrite(data, offset)

    def xTruncate(self, size):
        self.vfs.note("truncate", self.file_name, size)
        return super().xTruncate(size)

    def xSync(self, flags):
        super().xSync(flags)
        self.vfs.note("sync", self.file_name)


class Recorder(apsw.VFS):
    """The default VFS while it lives; `events` is what happened, in order. Temporary files have no name."""

    def __init__(self) -> None:
        self.events: list[tuple] = []
        self.real = apsw.vfs_names()[0]
        super().__init__("recorder", self.real, makedefault=True)

    def note(self, *event) -> None:
        if event[0] == "answer" or event[1]:
            self.events.append(event)

    def xOpen(self, name, flags):
        return RecordedFile(self, name, flags)

    def xDelete(self, name, sync_dir):
        self.note("delete", Path(name).name)
        super().xDelete(name, sync_dir)


async def settle_all(path: Path, recorder: Recorder, *, synchronous: str) -> None:
    rig = Rig(path)
    rig.connection.execute(f"PRAGMA synchronous = {synchronous}")
    rig.connection.execute("PRAGMA wal_autocheckpoint = 20")  # many checkpoints in a short run
    await rig.put([f"s/{n:03d}" for n in range(N_JOBS)])
    recorder.note("answer", "enqueued")

    async def settle(job) -> None:
        await rig.finish(job, now=NOW)
        recorder.note("answer", job.id)

    while claimed := await rig.take(4):
        await asyncio.gather(*map(settle, claimed))
    recorder.note("answer", "over")  # the cut comes before a clean close
    rig.close()


class Disk:
    """What is on the platter, and what only waits to get there."""

    def __init__(self) -> None:
        self.synced: dict[str, bytearray] = defaultdict(bytearray)
        self.waiting: dict[str, list[tuple]] = defaultdict(list)

    def apply(self, event: tuple) -> None:
        what, name, *rest = event
        if what == "sync":
            for change in self.waiting.pop(name, []):
                _change(self.synced[name], change)
        elif what == "delete":
            self.synced.pop(name, None)
            self.waiting.pop(name, None)
        elif what in ("write", "truncate"):
            self.waiting[name].append((what, *rest))

    def cut(self, damage: str, rng: random.Random) -> dict[str, bytes]:
        files = {name: bytearray(content) for name, content in self.synced.items()}
        for name, changes in self.waiting.items():
            files.setdefault(name, bytearray())
            for change in changes:
                if damage == "some lost" and rng.random() < 0.5:
                    _change(files[name], change)
                elif damage == "torn":
                    _tear(files[name], change, rng)
        return {name: bytes(content) for name, content in files.items()}


def _change(content: bytearray, change: tuple) -> None:
    if change[0] == "truncate":
        del content[change[1] :]
        return
    _, offset, data = change
    content.extend(bytes(max(0, offset + len(data) - len(content))))
    content[offset : offset + len(data)] = data


def _tear(content: bytearray, change: tuple, rng: random.Random) -> None:
    """Each sector of a write arrives, does not, or holds noise."""
    if change[0] == "truncate":
        return _change(content, change) if rng.random() < 0.5 else None
    _, offset, data = change
    for start in range(0, len(data), SECTOR_BYTES):
        sector = data[start : start + SECTOR_BYTES]
        fate = rng.random()
        if fate < 0.45:
            _change(content, ("write", offset + start, sector))
        elif fate < 0.55:
            _change(content, ("write", offset + start, rng.randbytes(len(sector))))
    return None


def loss(folder: Path, image: dict[str, bytes], answered: set) -> str:
    """Return what is wrong with the queue in `image`, '' for nothing."""
    for file in folder.iterdir():
        file.unlink()
    for name, content in image.items():
        if name.startswith("queue.sqlite"):
            (folder / name).write_bytes(content)
    connection = None
    try:
        connection = apsw.Connection(str(folder / "queue.sqlite"))
        if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            return "corrupt"
        if "enqueued" not in answered:
            return ""
        done = {
            id_ for (id_,) in connection.execute("SELECT id FROM job WHERE state = 'completed' AND kind = 'download'")
        }
        if connection.execute("SELECT count(*) FROM job WHERE kind = 'download'").fetchall() != [(N_JOBS,)]:
            return "the listing is not whole"
        if connection.execute(COUNTED).fetchall() != connection.execute(SCAN).fetchall():
            return "the counters are wrong"
        lost = answered - done - {"enqueued"}
        return f"{len(lost)} answered settles lost" if lost else ""
    except apsw.Error as error:
        return f"unusable: {error}"
    finally:
        if connection is not None:
            connection.close()


def losses(tmp_path: Path, synchronous: str, seed: int) -> list[str]:
    """Settle everything once, cut the power at N_IMAGES random moments, and return what each cut lost."""
    recorder = Recorder()
    try:
        (tmp_path / "live").mkdir()
        asyncio.run(settle_all(tmp_path / "live" / "queue.sqlite", recorder, synchronous=synchronous))
    finally:
        recorder.unregister()
    over = recorder.events.index(("answer", "over"))
    assert sum(event[0] == "answer" for event in recorder.events[:over]) == N_JOBS + 1, "the recorder is blind"
    rng = random.Random(seed)
    moments = set(rng.sample(range(over), min(over, N_IMAGES)))
    (tmp_path / "image").mkdir()
    disk, answered, found = Disk(), set(), []
    for moment, event in enumerate(recorder.events[:over]):
        if event[0] == "answer":
            answered.add(event[1])
        else:
            disk.apply(event)
        if moment in moments:
            image = disk.cut(rng.choice(DAMAGES), rng)
            found.append(loss(tmp_path / "image", image, answered))
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_an_answered_settle_survives_every_power_cut(tmp_path, seed):
    found = losses(tmp_path, "FULL", seed)
    assert len(found) == N_IMAGES
    assert [wrong for wrong in found if wrong] == []


def test_the_queue_is_opened_with_the_setting_that_this_test_needs(tmp_path):
    connection = migrate.open_writer(tmp_path / "queue.sqlite")
    assert connection.pragma("synchronous") == 2
    connection.close()


@pytest.mark.parametrize("weaker", ["NORMAL", "OFF"])
def test_the_test_sees_the_losses_of_weaker_settings(tmp_path, weaker):
    found = [wrong for wrong in losses(tmp_path, weaker, 1) if wrong]
    assert found, "nothing was lost, so this test proves nothing"
    if weaker == "NORMAL":
        assert any("answered settles lost" in wrong for wrong in found)
        assert not any(wrong == "corrupt" for wrong in found)
