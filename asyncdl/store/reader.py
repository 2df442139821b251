"""Questions to the queue over a read-only connection: short, complete before they return, no cursor left open.

Manifests stream row by row from a connection of their own. Rows are named tuples of plain values; what they mean is
said where the column is, in schema.sql.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import apsw
import orjson

from asyncdl.core.model import Dataset, Kind, Recipe
from asyncdl.core.names import SafePath
from asyncdl.core.recipes import Options
from asyncdl.store import migrate, sql

FAILED_PAGE = 1000
"""Rows of one look at the failed jobs. Guess."""


class BytesRow(NamedTuple):
    """n_unsized: downloads whose size is not known, so that `known` is too small."""

    known: int
    done: int
    n_unsized: int


class DatasetRow(NamedTuple):
    """Files and bytes: of its downloads, or of verify jobs where source is local, for those have no downloads.

    to_fetch_bytes, n_unsized: of the unfinished ones; sizes that are not known count as none.
    """

    name: str
    subset: str
    revision: str
    n_files: int
    n_files_done: int
    size_bytes: int
    done_bytes: int
    to_fetch_bytes: int
    n_unsized: int
    source: str
    origin: str


class ErrorRow(NamedTuple):
    """last_at, next_retry_at: UTC seconds or None. text, path: of one example, the job with the highest id."""

    kind: Kind
    error_class: str
    n: int
    last_at: float | None
    next_retry_at: float | None
    n_discarded: int
    text: str
    path: str


class EngineRow(NamedTuple):
    """bound: what bounds its speed; '' unknown. cpu_s, rss_bytes: 0 where it does not tell."""

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
    cpu_s: float
    rss_bytes: int
    loop_lag_s: float
    n_pool: int


class HostRow(NamedTuple):
    """What is remembered of one host, None where nothing is. closed_until: of its gate that opens last; may be past."""

    name: str
    connections_hint: int | None
    connections_cap: int | None
    paced_at: float | None
    closed_until: float | None


class TrafficRow(NamedTuple):
    """What one engine has to do with one host just now. first_byte_s: None before the first answer."""

    owner: str
    host: str
    n_open: int
    n_allowed: int
    per_s: float
    first_byte_s: float | None
    n_refused: int


class GateRow(NamedTuple):
    """A host that asked to be left alone, or one of its quotas; quota '' where it has but one."""

    host: str
    quota: str
    closed_at: float
    closed_until: float


class RunningRow(NamedTuple):
    """One job that is under way. size_bytes: None where it is not known."""

    kind: Kind
    name: str
    subset: str
    revision: str
    path: str
    started_at: float
    attempt: int
    size_bytes: int | None
    done_bytes: int


class RecentRow(NamedTuple):
    """One attempt that ended without completing its job. outcome: as in schema.sql."""

    at: float
    outcome: str
    error_class: str | None
    text: str | None
    attempt: int
    kind: Kind
    name: str
    subset: str
    path: str


class PauseRow(NamedTuple):
    """What a person has paused."""

    what: Literal["kind", "dataset", "host"]
    name: str
    since: float


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


class JobRow(NamedTuple):
    """One job as a page shows it. recipe: its name, '' for kinds without. run_at: when it may be tried again."""

    id: int
    kind: Kind
    name: str
    revision: str
    subset: str
    path: str
    recipe: str
    state: str
    size_bytes: int | None
    done_bytes: int
    attempt: int
    run_at: float
    started_at: float | None
    ended_at: float | None
    error_class: str | None
    error_text: str | None


class AttemptRow(NamedTuple):
    """One attempt that did not complete its job."""

    attempt: int
    owner: str
    started_at: float | None
    ended_at: float
    outcome: str
    error_class: str | None
    error_text: str | None


class FailedRow(NamedTuple):
    """One job that has an error. run_at: of its next try, or beyond core.states.AWAY_S where it is paused."""

    id: int
    kind: Kind
    name: str
    subset: str
    path: str
    state: str
    attempt: int
    failures: int
    is_paused: bool
    run_at: float
    ended_at: float | None
    error_class: str
    text: str


class TokenizedRow(NamedTuple):
    """One finished tokenize job; download_result and verify_result are those of its source."""

    dataset_id: int
    dataset: str
    revision: str
    subset: str
    path: str
    part: int
    digest: str | None
    result: str
    download_result: str | None
    verify_result: str | None


class Reader:
    """Owner of one read-only connection; close it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = migrate.open_reader(path)
        self._q = sql.queries("reads.sql")

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _all(self, query: str, /, **bindings: object) -> list[tuple[Any, ...]]:
        return list(self._each(query, **bindings))

    def _each(self, query: str, /, **bindings: object) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of `query`, which stays open meanwhile: the one way by which anything is read.

        Raises ConfigError for a file that is damaged, StoreError for a disk that fails, at any row.
        """
        with self._told():
            yield from self._connection.execute(self._q[query], bindings)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (apsw.CorruptError, apsw.NotADBError, apsw.IOError) as error:
            raise migrate.told(self._path, error) from error

    def job_counts(self) -> dict[str, dict[str, int]]:
        """Return {kind: {state: n}} without zeros."""
        counts: dict[str, dict[str, int]] = {}
        for kind, state, n in self._all("counters"):
            counts.setdefault(str(kind), {})[str(state)] = int(n)
        return counts

    def download_bytes(self) -> BytesRow:
        return BytesRow(*self._all("bytes")[0])

    def datasets(self) -> list[DatasetRow]:
        """Return a row per subset and revision that has downloads, or files of this machine."""
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

    def traffic(self) -> list[TrafficRow]:
        """Return what the engines that have not ended do with each host, in the order of the hosts' names."""
        return [TrafficRow(*row) for row in self._all("traffic")]

    def closed_gates(self, now: float) -> list[GateRow]:
        """Return the gates that are closed at `now` (UTC seconds), in the order of their names."""
        return [GateRow(*row) for row in self._all("closed_gates", now=now)]

    def running(self, n: int) -> list[RunningRow]:
        """Return at most `n` of the jobs that are under way, the longest running first."""
        return [RunningRow(*row) for row in self._all("running", n=n)]

    def recent(self, n: int) -> list[RecentRow]:
        """Return the last `n` attempts that ended without completing, the newest first."""
        return [RecentRow(*row) for row in self._all("recent", n=n)]

    def paused(self) -> list[PauseRow]:
        """Return what a person has paused, in order."""
        return [PauseRow(*row) for row in self._all("paused")]

    def faults(self) -> list[str]:
        """Return what SQLite finds wrong with the file, '' never among it; reads all of it."""
        found = [str(text) for (text,) in self._all("quick_check") if text != "ok"]
        return found or [f"a row of {table} belongs to none of {parent}" for table, parent in self._all("orphans")]

    def wrong_counters(self) -> list[tuple[int, str, str]]:
        """Return (dataset id, kind, state) of what the counters say otherwise than the jobs; reads every job."""
        with self.snapshot():
            scanned, counted = (
                {row[:3]: row[3:] for row in self._all(query) if any(row[3:])}
                for query in ("scan_of_jobs", "all_counters")
            )
        return sorted(key for key in scanned.keys() | counted.keys() if scanned.get(key) != counted.get(key))

    def version(self) -> int:
        """Return the version of the schema that the file has."""
        return int(self._all("user_version")[0][0])

    def n_paused(self, kinds: Iterable[str]) -> int:
        """Return how many jobs of `kinds` nobody may claim because a person has paused them."""
        if not self._all("paused"):
            return 0
        with self._told():
            ids = [id_ for (id_,) in sql.rows(self._connection, sql.queries()["paused_ids"])]
        return int(
            self._all("n_paused", kinds=orjson.dumps(list(kinds)).decode(), paused=orjson.dumps(ids).decode())[0][0]
        )

    def failed_jobs(self, error_class: str) -> Iterator[FailedRow]:
        """Yield the jobs with that error, in the order of their ids; many short questions, so that nothing is held."""
        ids = [id_ for (id_,) in self._all("ids_of_error", error_class=error_class)]
        for first in range(0, len(ids), FAILED_PAGE):
            for row in self._all("failed_jobs", ids=orjson.dumps(ids[first : first + FAILED_PAGE]).decode()):
                found = FailedRow(*row)._replace(is_paused=bool(row[8]))
                if found.error_class == error_class:  # or it went well meanwhile
                    yield found

    def error_classes(self) -> list[str]:
        return [error_class for (error_class,) in self._all("error_classes")]

    def dataset_places(self) -> list[tuple[str, str]]:
        """Return (name, origin) of every dataset, once for each origin."""
        return [(str(name), str(origin)) for name, origin in self._all("dataset_places")]

    def open_downloads(self) -> Iterator[tuple[SafePath, SafePath]]:
        """Yield (local_root, path) of every download that is not finished; held open, so read on quickly."""
        for root, path in self._each("open_downloads"):
            yield SafePath(str(root)), SafePath(str(path))

    def dataset(self, id_: int) -> Dataset:
        id_, name, revision, subset, source, origin, root, field = self._all("dataset_by_id", id=id_)[0]
        return Dataset(
            id=id_, name=str(name), revision=str(revision), subset=str(subset), source=source,
            origin=str(origin), local_root=SafePath(str(root)), text_field=str(field),
        )  # fmt: skip

    def recipe(self, id_: int) -> Recipe:
        return _recipe(self._all("recipe_by_id", id=id_)[0])

    def recipes(self) -> list[Recipe]:
        return [_recipe(row) for row in self._all("recipes")]

    def backends(self) -> list[tuple[str, str]]:
        """Return (recipe name, what made its ids last and why not the fast one), where something was made."""
        return [(str(name), str(backend)) for name, backend in self._all("backends")]

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
            for row in self._each("files_of", dataset_id=dataset_id):
                yield FileRow(*row)

    def tokenized_splits(self) -> list[tuple[str, str]]:
        """Return the (dataset, subset) that have finished tokenize jobs of any recipe, in order."""
        return [(str(name), str(subset)) for name, subset in self._all("tokenized_splits")]

    def tokenized_names(self) -> list[tuple[str, str]]:
        """Return the (dataset, subset) that have tokenize jobs in any state."""
        return [(str(name), str(subset)) for name, subset in self._all("tokenized_names")]

    def made(self, recipe: str, name: str, origin: str) -> Iterator[tuple[int, str, str, list[dict[str, Any]]]]:
        """Yield (job id, dataset, subset, shards) of what is finished with a recipe: of the dataset `name`, or of the
        folder `origin` of this machine.
        """
        for id_, dataset, subset, result in self._each("made_of", recipe=recipe, name=name, origin=origin):
            yield int(id_), str(dataset), str(subset), orjson.loads(str(result))["shards"]

    def dataset_names(self) -> list[str]:
        return [str(name) for (name,) in self._all("dataset_names")]

    def verified(self, dataset_id: int, path: str) -> dict[str, Any]:
        """Return what the verify job of one file or group found; {} where it is not completed."""
        rows = self._all("verify_result", dataset_id=dataset_id, path=path)
        return dict(orjson.loads(rows[0][0])) if rows and rows[0][0] else {}

    def inputs(self, dataset_id: int, path: str) -> list[SafePath]:
        """Return the files of this machine that the job `path` packs, in order; at most core.grouping.MAX_FILES."""
        return [SafePath(str(file)) for (file,) in self._all("inputs_of", dataset_id=dataset_id, path=path)]

    def tokenized_of(self, recipe_id: int, dataset: str, subset: str) -> Iterator[TokenizedRow]:
        """Yield the finished tokenize jobs of one recipe and split, in path order, the latest revision of each."""
        for row in self._each("tokenized_of", recipe_id=recipe_id, dataset=dataset, subset=subset):
            yield TokenizedRow(*row)

    def page_of_jobs(self, dataset: tuple[str, str, str], kind: str, after: tuple[str, int], n: int) -> list[JobRow]:
        """Return at most `n` jobs in path order. dataset: name, revision, subset. after: the last (path, id) had."""
        (name, revision, subset), (path, id_) = dataset, after
        bindings = {"name": name, "revision": revision, "subset": subset, "kind": kind, "path": path, "id": id_, "n": n}
        return [JobRow(*row) for row in self._all("page_of_jobs", **bindings)]

    def page_of_errors(self, kind: str, error_class: str, after: int, n: int) -> list[JobRow]:
        """Return at most `n` jobs whose last attempt failed in this way, in the order of ids, those above `after`."""
        return [JobRow(*row) for row in self._all("page_of_errors", kind=kind, error_class=error_class, id=after, n=n)]

    def job(self, id_: int) -> JobRow | None:
        rows = self._all("job_by_id", id=id_)
        return JobRow(*rows[0]) if rows else None

    def attempts_of(self, id_: int, n: int) -> list[AttemptRow]:
        """Return the last `n` attempts of a job that did not complete it, the latest first."""
        return [AttemptRow(*row) for row in self._all("attempts_of", id=id_, n=n)]

    def attempt_sums(self) -> dict[tuple[str, str], int]:
        """Return {(outcome, error class or ''): how many attempts ever ended so}, those that completed left out."""
        return {(str(outcome), str(name)): int(n) for outcome, name, n in self._all("attempt_sums")}

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything asked within sees one state of the queue. Keep it short: the WAL grows meanwhile."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")


def _recipe(row: tuple[Any, ...]) -> Recipe:
    id_, name, tokenizer, path, sha256, eos_id, length, options, output_dir, vocab_size = row
    return Recipe(
        id=id_, name=str(name), tokenizer=str(tokenizer), tokenizer_path=str(path), tokenizer_sha256=str(sha256),
        eos_id=eos_id, max_seq_length=length, options=Options(**orjson.loads(options)), output_dir=str(output_dir),
        vocab_size=vocab_size,
    )  # fmt: skip
