"""A real queue, a data dir and the engines that run over them in this event loop.

Nothing is faked: SQLite in a folder, bytes over loopback sockets, children of the pool. What the loop reports as
forgotten (an exception in a callback, a task nobody awaited) fails the test.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import apsw

from asyncdl.core.events import Event, JobEnded
from asyncdl.core.model import Artifact, Dataset, Digest, Recipe
from asyncdl.core.names import folder_of, safe_path
from asyncdl.core.secret import Secret
from asyncdl.demo import corpus_dir
from asyncdl.demo.content import Content
from asyncdl.demo.hub import DemoHub
from asyncdl.demo.repos import Repo, is_lfs
from asyncdl.engine.run import Ended, Engine, EngineConfig
from asyncdl.store import migrate
from asyncdl.store.enqueue import Enqueue, Enqueued
from asyncdl.store.writer import Writer

REPO = "org/name"
LEASE_S = 60.0


class Told:
    """The events of all engines so far, oldest first, and a way to wait for the next one."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.engine_ended = False
        self._news = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    def of(self, cls: type, /, **fields: object) -> list[Any]:
        return [
            event
            for event in self.events
            if isinstance(event, cls) and all(getattr(event, name) == value for name, value in fields.items())
        ]

    async def wait_for(self, cls: type, /, **fields: object) -> Any:
        """The first such event, from the beginning on. Fails when the engine ends without it."""
        while not (found := self.of(cls, **fields)):
            assert not self.engine_ended, f"no {cls.__name__} {fields} came: {self.events[-3:]}"
            self._news.clear()
            await self._news.wait()
        return found[0]

    def note_end(self, _: asyncio.Task[Any]) -> None:
        self.engine_ended = True
        self._news.set()

    def outcomes(self, kind: str = "download") -> Counter[tuple[str, str | None]]:
        """{(outcome, error class): how many attempts ended so}."""
        return Counter((event.outcome, event.error_class) for event in self.of(JobEnded, kind=kind))


class Bench:
    """`enqueue...`, then `run`. endpoint: of the Hub. told: what its engines said."""

    def __init__(self, folder: Path, endpoint: str = "http://127.0.0.1:9") -> None:
        self.queue = folder / "queue.sqlite"
        self.data_dir = folder / "data"
        self.endpoint = endpoint
        self.told = Told()
        self.engine: Engine | None = None

    # --- what there is to do

    async def enqueue_repo(self, hub: DemoHub, name: str = REPO, **options: Any) -> Enqueued:
        """Everything main of a demo repo holds, with the sizes and digests that the Hub lists. See `enqueue`."""
        revision = hub.repo(name).main
        facts = {path: _facts(path, revision.content(path)) for path in revision.paths}
        dataset = _dataset(name, f"{hub.endpoint}/datasets/{name}/resolve/{revision.sha}", revision.sha)
        return await self.enqueue(dataset, facts, **options)

    async def enqueue_url(self, origin: str, paths: Iterable[str], **options: Any) -> Enqueued:
        """Files of a host that says nothing about them beforehand."""
        return await self.enqueue_known(origin, dict.fromkeys(paths, (None, None)), **options)

    async def enqueue_known(
        self, origin: str, facts: Mapping[str, tuple[int | None, Digest | None]], **options: Any
    ) -> Enqueued:
        """Files of a host of which that much is known: {path: (size, digest)}."""
        return await self.enqueue(_dataset("host", origin, "", source="url"), facts, **options)

    async def enqueue(
        self,
        dataset: Dataset,
        facts: Mapping[str, tuple[int | None, Digest | None]],
        *,
        text_field: str = "",
        recipe: Recipe | None = None,
        missing: bool = True,
    ) -> Enqueued:
        """facts: {path: (size, digest)}. missing: as in Enqueue.stage."""
        writer = Writer(migrate.open_writer(self.queue), self.queue)
        try:
            template = Dataset(
                **{name: getattr(dataset, name) for name in dataset.__slots__} | {"text_field": text_field}
            )
            enqueue = Enqueue(writer, template, now=time.time())
            rows = [
                (folder_of(path), Artifact(safe_path(path), size_bytes, digest), missing)
                for path, (size_bytes, digest) in sorted(facts.items())
            ]
            for at in range(0, len(rows), 1000):
                await enqueue.stage(rows[at : at + 1000])
            return await enqueue.finish(priority=5, recipe=recipe)
        finally:
            writer.close()

    # --- the engine

    def config(self, **changes: Any) -> EngineConfig:
        token = changes.pop("token", None)
        chosen: dict[str, Any] = {
            "queue": self.queue, "data_dir": self.data_dir, "workers": 16, "processes": 1, "only": None,
            "forever": False, "allow_private": False, "endpoint": self.endpoint,
            "token": Secret(token) if token else None, "lease_s": LEASE_S, "version": "test",
        }  # fmt: skip
        return EngineConfig(**chosen | changes)

    async def run(self, **changes: Any) -> Ended:
        async with self.running(**changes) as ended:
            return await ended

    @asynccontextmanager
    async def running(
        self, *, listen: Callable[[Event], None] | None = None, **changes: Any
    ) -> AsyncIterator[asyncio.Task[Ended]]:
        """An engine that runs while the block does; the task is its end. `self.engine` is the engine."""
        self.data_dir.mkdir(exist_ok=True)
        self.engine = Engine(self.config(**changes), listen or self.told)
        with _LoopComplaints() as complaints:
            task = asyncio.create_task(self.engine.run(), name="engine")
            self.told.engine_ended = False
            task.add_done_callback(self.told.note_end)
            try:
                yield task
                await task
            finally:
                if not task.done():
                    self.engine.stop()
                    task.cancel()
                    await asyncio.wait((task,))
        assert complaints == [], complaints

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something in the queue; SQLite tells nobody of a change, so it is looked for."""
        while not holds():
            await asyncio.sleep(0.01)

    # --- what came of it

    def file(self, path: str, root: str = "org--name") -> Path:
        return self.data_dir / "raw" / root / path

    def rows(self, statement: str, *bindings: object) -> list[tuple[Any, ...]]:
        """Ask or change the queue as another program would: a connection of its own, closed at once."""
        connection = apsw.Connection(str(self.queue), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(10_000)
            return connection.execute(statement, bindings).fetchall()
        finally:
            connection.close()

    def row(self, path: str, kind: str = "download") -> dict[str, Any]:
        """The job's row by column."""
        columns = [name for _, name, *_ in self.rows("PRAGMA table_info(job)")]
        (found,) = self.rows("SELECT * FROM job WHERE path = ? AND kind = ?", path, kind)
        return dict(zip(columns, found, strict=True))

    def states(self, kind: str = "download") -> dict[str, str]:
        return dict(self.rows("SELECT path, state FROM job WHERE kind = ?", kind))

    def errors(self, kind: str = "download") -> dict[str, str]:
        """{path: error class} of what was discarded."""
        asked = "SELECT path, error_class FROM job WHERE kind = ? AND state = 'discarded'"
        return dict(self.rows(asked, kind))

    def leftovers(self) -> list[str]:
        """Unfinished files below the data dir."""
        return sorted(str(path.relative_to(self.data_dir)) for path in self.data_dir.rglob("*.partial*"))

    def assert_as_served(self, repo: Repo, root: str = "org--name") -> None:
        """Every file of main is published with the bytes that the hub has, no more, and the queue agrees."""
        for path in repo.main.paths:
            content = repo.main.content(path)
            assert content is not None
            assert sha256(self.file(path, root)) == content.sha256, path
        assert set(self.states().values()) == {"completed"}
        assert self.leftovers() == []


def packaged_recipe(max_seq_length: int = 256) -> Recipe:
    """The tokenizer that comes with the demo corpus."""
    path = corpus_dir() / "tokenizer" / "tokenizer.json"
    import tokenizers

    eos_id = tokenizers.Tokenizer.from_file(str(path)).token_to_id("<|endoftext|>")
    assert eos_id is not None
    return Recipe(
        name=f"demo-{max_seq_length}", tokenizer="demo/tokenizer", tokenizer_path=str(path),
        tokenizer_sha256=sha256(path), eos_id=eos_id, max_seq_length=max_seq_length,
    )  # fmt: skip


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _dataset(name: str, origin: str, revision: str, source: Any = "hub") -> Dataset:
    root = safe_path(f"raw/{name.replace('/', '--')}")
    return Dataset(
        name=name, revision=revision, subset="", source=source, origin=origin, local_root=root, text_field=""
    )


def _facts(path: str, content: Content | None) -> tuple[int, Digest]:
    assert content is not None
    lfs = is_lfs(path, content)
    return content.size_bytes, Digest("sha256", content.sha256) if lfs else Digest("git-sha1", content.git_sha1)


class _LoopComplaints:
    """What the loop would only log: exceptions in callbacks and of tasks that nobody awaited."""

    def __enter__(self) -> list[str]:
        self._complaints: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._before: Callable[..., Any] | None = self._loop.get_exception_handler()
        self._loop.set_exception_handler(self._note)
        return self._complaints

    def _note(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._complaints.append(f"{context.get('message')}: {context.get('exception')!r}")

    def __exit__(self, *_: object) -> None:
        self._loop.set_exception_handler(self._before)
