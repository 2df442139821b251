"""A real queue in a folder, and the questions that every test of it asks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import apsw

from asyncdl.core.model import Artifact, Dataset, Digest, Job, NewJob, Recipe
from asyncdl.core.names import folder_of, safe_path
from asyncdl.store import migrate
from asyncdl.store.enqueue import Enqueue, Enqueued
from asyncdl.store.jobs import Jobs
from asyncdl.store.writer import Writer

NOW = 1_000_000.0
LEASE_S = 60.0
DIGEST = Digest("sha256", "ab" * 32)


def dataset(revision: str = "a" * 40) -> Dataset:
    return Dataset(
        name="org/name", revision=revision, subset="", source="hub", origin="http://hub.test",
        local_root=safe_path("raw/org--name"), text_field="text",
    )  # fmt: skip


def recipe(name: str = "tok-1024") -> Recipe:
    return Recipe(
        name=name, tokenizer="tok", tokenizer_path="/tok/tokenizer.json", tokenizer_sha256="cd" * 32, eos_id=2,
        max_seq_length=1024,
    )  # fmt: skip


class Rig:
    """One writer on `path`. Owner of it: close it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = migrate.open_writer(path)
        self.writer = Writer(self.connection, path)

    def close(self) -> None:
        self.writer.close()

    def jobs(self, owner: str = "me") -> Jobs:
        return Jobs(self.writer, owner)

    async def put(
        self, paths: Iterable[str], *, missing: bool = True, tokenize: Recipe | None = None, revision: str = "a" * 40,
        size_bytes: int | None = 100, now: float = NOW, priority: int = 5, text_field: str = "text",
    ) -> Enqueued:  # fmt: skip
        enqueue = Enqueue(self.writer, replace(dataset(revision), text_field=text_field), now=now)
        await enqueue.stage([(folder_of(path), artifact(path, size_bytes), missing) for path in paths])
        return await enqueue.finish(priority=priority, recipe=tokenize)

    async def take(self, n: int = 1, *, owner: str = "me", kind: str = "download", now: float = NOW) -> list[Job]:
        return await self.jobs(owner).claim(kind, n, now=now, lease_s=LEASE_S)  # type: ignore[arg-type]

    async def finish(self, job: Job, *, now: float = NOW, result: dict[str, object] | None = None) -> None:
        """Complete `job`; a download makes its verify job."""
        children = (verify_of(job),) if job.kind == "download" else ()
        await self.jobs(job.owner).complete(job, now=now, size_bytes=100, result=result or {}, children=children)


def artifact(path: str, size_bytes: int | None = 100) -> Artifact:
    return Artifact(safe_path(path), size_bytes, DIGEST)


def verify_of(job: Job) -> NewJob:
    return NewJob(job.dataset_id, "verify", job.path, 0, 100, None)


def rows(path: Path, statement: str) -> list[tuple[apsw.SQLiteValue, ...]]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


SCAN = """SELECT dataset_id, kind, state, count(*), sum(size_bytes IS NULL), coalesce(sum(size_bytes), 0),
  sum(done_bytes) FROM job GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
COUNTED = """SELECT dataset_id, kind, state, n, n_unsized, size_bytes, done_bytes FROM counter
  WHERE n OR n_unsized OR size_bytes OR done_bytes ORDER BY 1, 2, 3"""


def assert_sound(path: Path) -> None:
    """The file is whole, and the counters say what a scan of the jobs says."""
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(path, "PRAGMA foreign_key_check") == []
    assert rows(path, COUNTED) == rows(path, SCAN)


def states(path: Path, kind: str = "download") -> dict[str, str]:
    return dict(rows(path, f"SELECT path, state FROM job WHERE kind = '{kind}'"))
