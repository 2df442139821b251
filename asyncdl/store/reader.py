"""Questions to the queue over a read-only connection: short, complete before they return, no cursor left open.

Manifests stream row by row from a connection of their own. Rows are named tuples of plain values; what they mean is
said where the column is, in schema.sql.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson

from asyncdl.core.model import Dataset, Kind, Recipe
from asyncdl.core.names import SafePath
from asyncdl.store import migrate, sql


class BytesRow(NamedTuple):
    """n_unsized: downloads whose size is not known, so that `known` is too small."""

    known: int
    done: int
    n_unsized: int


class DatasetRow(NamedTuple):
    name: str
    subset: str
    revision: str
    n_files: int
    n_files_done: int
    size_bytes: int
    done_bytes: int


class ErrorRow(NamedTuple):
    """last_at, next_retry_at: UTC seconds or None. text, path: of one example, the latest."""

    kind: Kind
    error_class: str
    n: int
    last_at: float | None
    next_retry_at: float | None
    n_discarded: int
    text: str
    path: str


class EngineRow(NamedTuple):
    """bound: what bounds its speed; '' unknown."""

    owner: str
    host: str
    pid: int
    identity: str
    version: str
    workers: int
    started_at: float
    beat_at: float
    per_s: float
    n_requests: int
    bound: str


class HostRow(NamedTuple):
    """What is remembered of one host, None where nothing is. closed_until: of its gate that opens last; may be past."""

    name: str
    connections_hint: int | None
    connections_cap: int | None
    paced_at: float | None
    closed_until: float | None


class FileRow(NamedTuple):
    """One download and its verify job; the verify columns are None where there is none."""

    dataset: str
    revision: str
    local_root: str
    path: str
    size_bytes: int | None
    digest: str | None
    state: str
    result: str | None
    error_class: str | None
    verify_state: str | None
    verify_result: str | None
    verify_error_class: str | None


class TokenizedRow(NamedTuple):
    """One finished tokenize job; download_result is that of its source."""

    dataset: str
    revision: str
    subset: str
    path: str
    digest: str | None
    result: str
    download_result: str | None


class Reader:
    """Owner of one read-only connection; close it."""

    def __init__(self, path: Path) -> None:
        self._connection = migrate.open_reader(path)
        self._q = sql.queries("reads.sql")

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _all(self, query: str, /, **bindings: object) -> list[tuple[Any, ...]]:
        return sql.rows(self._connection, self._q[query], bindings)

    def job_counts(self) -> dict[str, dict[str, int]]:
        """Return {kind: {state: n}} without zeros."""
        counts: dict[str, dict[str, int]] = {}
        for kind, state, n in self._all("counters"):
            counts.setdefault(str(kind), {})[str(state)] = int(n)
        return counts

    def download_bytes(self) -> BytesRow:
        return BytesRow(*self._all("bytes")[0])

    def datasets(self) -> list[DatasetRow]:
        """Return a row per subset and revision that has downloads."""
        return [DatasetRow(*row) for row in self._all("datasets")]

    def stage_states(self) -> dict[tuple[str, str, str], dict[tuple[str, str], int]]:
        """Return {(name, subset, revision): {(kind, state): n}} without zeros and cancelled jobs."""
        states: dict[tuple[str, str, str], dict[tuple[str, str], int]] = {}
        for name, subset, revision, kind, state, n in self._all("stage_states"):
            states.setdefault((str(name), str(subset), str(revision)), {})[str(kind), str(state)] = int(n)
        return states

    def errors(self) -> list[ErrorRow]:
        """Return the failures that still stand, grouped, the most frequent first."""
        rows = []
        for kind, error_class, n, last_at, next_at, id_, n_discarded in self._all("errors"):
            text, path = self._all("error_text", id=id_)[0]
            rows.append(ErrorRow(kind, error_class, n, last_at, next_at, n_discarded, text or "", path))
        return rows

    def engines(self) -> list[EngineRow]:
        """Return the engines that have not ended, dead ones included; `store.place.is_gone` tells."""
        return [EngineRow(*row) for row in self._all("engines")]

    def hosts(self) -> list[HostRow]:
        """Return the hosts that something is remembered of, in the order of their names."""
        return [HostRow(*row) for row in self._all("hosts")]

    def dataset(self, id_: int) -> Dataset:
        id_, name, revision, subset, source, origin, root, field = self._all("dataset_by_id", id=id_)[0]
        return Dataset(
            id=id_, name=str(name), revision=str(revision), subset=str(subset), source=source,
            origin=str(origin), local_root=SafePath(str(root)), text_field=str(field),
        )  # fmt: skip

    def recipe(self, id_: int) -> Recipe:
        return _recipe(self._all("recipe_by_id", id=id_)[0])

    def recipe_named(self, name: str) -> Recipe | None:
        rows = self._all("recipe_by_name", name=name)
        return _recipe(rows[0]) if rows else None

    def recipes(self) -> list[Recipe]:
        return [_recipe(row) for row in self._all("recipes")]

    def n_known(self, dataset: str, revision: str, files: Iterable[tuple[str, str]]) -> int:
        """How many of `files`, (subset, path) pairs, are downloads of this dataset and revision, in any state."""
        pairs = orjson.dumps(list(files)).decode()
        return int(self._all("n_known", name=dataset, revision=revision, pairs=pairs)[0][0])

    def s3_samples(self) -> list[tuple[str, SafePath]]:
        """Return (origin, path) of one unfinished download for each origin of S3."""
        return [(origin, SafePath(path)) for origin, path in self._all("s3_samples")]

    def bytes_to_fetch(self) -> tuple[int, int]:
        """Return (bytes, files) that unfinished downloads still need; unknown sizes count as none.

        Files that wait to be adopted need no bytes, but are among the files.
        """
        return self._all("bytes_to_fetch")[0]

    def files(self) -> Iterator[FileRow]:
        """Yield every download that is not cancelled nor overwritten, ordered by dataset and path.

        One query for each dataset, so that nothing is sorted and no snapshot held for long.
        """
        for (dataset_id,) in self._all("dataset_ids"):
            for row in self._connection.execute(self._q["files_of"], {"dataset_id": dataset_id}):
                yield FileRow(*row)

    def tokenized_splits(self) -> list[tuple[str, str]]:
        """Return the (dataset, subset) that have finished tokenize jobs of any recipe, in order."""
        return [(str(name), str(subset)) for name, subset in self._all("tokenized_splits")]

    def tokenized_of(self, recipe_id: int, dataset: str, subset: str) -> Iterator[TokenizedRow]:
        """Yield the finished tokenize jobs of one recipe and split, in path order, the latest revision of each."""
        bindings = {"recipe_id": recipe_id, "dataset": dataset, "subset": subset}
        for row in self._connection.execute(self._q["tokenized_of"], bindings):
            yield TokenizedRow(*row)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything asked within sees one state of the queue. Keep it short: the WAL grows meanwhile."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")


def _recipe(row: tuple[Any, ...]) -> Recipe:
    id_, name, tokenizer, path, sha256, eos_id, length = row
    return Recipe(
        id=id_, name=str(name), tokenizer=str(tokenizer), tokenizer_path=str(path), tokenizer_sha256=str(sha256),
        eos_id=eos_id, max_seq_length=length,
    )  # fmt: skip
