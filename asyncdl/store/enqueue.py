"""Putting a listing into the queue: all of it in one transaction, or nothing, with flat memory.

Artifacts are staged in a temp table while the listing streams in; `finish` moves them into `job` at once. Until
then a failing listing, a full disk or a Ctrl-C leaves the queue as it was: not even a dataset's row is new.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import apsw
import orjson

from asyncdl.core.model import Artifact, Dataset, Recipe, Resolved
from asyncdl.errors import UnsafeNameError, UsageError
from asyncdl.store import sql, steering
from asyncdl.store.writer import Writer

STAGE_BATCH = 1000
"""Artifacts per write: one page of the Hub's tree API."""

Staged = tuple[str, int, int | None, str | None, str | None, bool]


@dataclass(frozen=True, slots=True)
class Enqueued:
    """n_new: jobs that were added or revived. n_known: downloads that were in the queue already, finished or not.

    others: names under which files of the same local paths were enqueued before; these take their place.
    """

    n_new: int
    n_known: int
    others: tuple[str, ...] = ()


def put_recipe(connection: apsw.Connection, recipe: Recipe) -> int:
    """Store `recipe`, or find it by its name; return its row id.

    Raises UsageError where another enqueue has given the name to another recipe since it was chosen.
    """
    bindings = asdict(recipe) | {"options": orjson.dumps(recipe.options.unusual()).decode()}
    rows = sql.rows(connection, sql.queries()["put_recipe"], bindings)
    if not rows:
        raise UsageError(f"another enqueue has just taken the name {recipe.name}", hint="do it again")
    return int(rows[0][0])


def template_of(resolved: Resolved) -> Dataset:
    """Return what all artifacts of a listing share; each names its own subset."""
    return Dataset(
        name=resolved.name,
        revision=resolved.revision,
        subset="",
        source=resolved.source,
        origin=resolved.origin,
        local_root=resolved.local_root,
        text_field=resolved.text_field,
    )


class Enqueue:
    """One enqueue. Call `stage` for every batch, then `finish` once. Owns the temp tables of its writer."""

    def __init__(self, writer: Writer, template: Dataset, *, now: float, case_sensitive: bool = True) -> None:
        """template: the dataset with its subset left ''; each staged artifact names its own.

        case_sensitive: of the data dir's file system. Where it is not, names that differ only by case are one file.
        """
        self._writer = writer
        self._template = template
        self._now = now
        self._case_sensitive = case_sensitive
        self._q = sql.queries()
        self._subsets: dict[str, int] = {}
        self._begun = False

    async def stage(self, batch: Sequence[tuple[str, Artifact, bool]]) -> None:
        """Stage (subset, artifact, is_missing) triples. is_missing: there is no finished file on disk.

        Raises UnsafeNameError when two artifacts have one name or would be one file; this enqueue is over then.
        """
        rows = [self._row(subset, artifact, missing=missing) for subset, artifact, missing in batch]
        await self._writer.write(lambda connection: self._stage(connection, rows))
        self._begun = True

    def _row(self, subset: str, artifact: Artifact, *, missing: bool) -> Staged:
        number = self._subsets.setdefault(subset, len(self._subsets))
        digest = str(artifact.digest) if artifact.digest else None
        return artifact.path, number, artifact.size_bytes, digest, artifact.validator, missing

    def _stage(self, connection: apsw.Connection, rows: list[Staged]) -> None:
        self._begin(connection)
        if not self._case_sensitive:
            self._refuse_twins(connection, rows)
        path = ""

        def one_by_one() -> Iterator[Staged]:  # executemany takes a row, runs it, then takes the next
            nonlocal path
            for row in rows:
                path = row[0]
                yield row

        try:
            connection.executemany(self._q["stage"], one_by_one())
        except apsw.ConstraintError as error:
            if getattr(error, "extendedresult", 0) != apsw.SQLITE_CONSTRAINT_PRIMARYKEY:
                raise
            raise UnsafeNameError(
                f"the source lists {path} twice", hint="two names differ only in how their accents are written"
            ) from None

    def _refuse_twins(self, connection: apsw.Connection, rows: list[Staged]) -> None:
        for path, *_ in rows:
            folded = unicodedata.normalize("NFC", path.casefold())
            twin = sql.rows(connection, self._q["fold_twin"], {"folded": folded})
            if twin and twin[0][0] != path:
                raise UnsafeNameError(
                    f"{twin[0][0]} and {path} differ only by case and would be one file in the data dir",
                    hint="leave one out with --exclude, or choose a --data-dir whose file system tells them apart",
                )
            if not twin:
                connection.execute(self._q["stage_fold"], (folded, path))

    def _begin(self, connection: apsw.Connection) -> None:
        """Make the temp tables, or take over those of an enqueue that was given up."""
        if not self._begun:
            connection.execute(self._q["staged_tables"])
            connection.execute(self._q["clear_staged"])

    async def finish(self, *, priority: int, recipe: Recipe | None) -> Enqueued:
        """Move what was staged into the queue. recipe: tokenize with it, new and already verified files alike."""

        def change(connection: apsw.Connection) -> Enqueued:
            self._begin(connection)
            bindings: dict[str, object] = {"priority": priority, "now": self._now}
            for subset, number in self._subsets.items():
                dataset = asdict(replace(self._template, subset=subset)) | bindings
                id_ = sql.rows(connection, self._q["put_dataset"], dataset)[0][0]
                connection.execute(self._q["stage_subset"], {"subset": number, "dataset_id": id_})
            steering.follow(connection)
            connection.execute(self._q["mark_changed"])
            if connection.changes():
                connection.execute(self._q["outdate_stages"], bindings)
            connection.execute(self._q["enqueue_staged"], bindings)
            n_new = connection.changes()
            n_staged = sql.rows(connection, self._q["n_staged"])[0][0]
            others = [str(name) for (name,) in sql.rows(connection, self._q["others_of_place"])]
            n_later = self._later_stages(connection, bindings, recipe)
            connection.execute(self._q["clear_staged"])
            return Enqueued(n_new=n_new + n_later, n_known=n_staged - n_new, others=tuple(others))

        return await self._writer.write(change)

    def _later_stages(self, connection: apsw.Connection, bindings: dict[str, object], recipe: Recipe | None) -> int:
        connection.execute(self._q["inherit_take_over"])
        connection.execute(self._q["supersede"], bindings)
        connection.execute(self._q["revive_stages"], bindings)
        n = connection.changes()
        if recipe is not None:
            recipe_id = put_recipe(connection, recipe)
            tied = bindings | {"recipe_id": recipe_id}
            connection.execute(self._q["tie_recipe"], tied)
            connection.execute(self._q["tokenize_verified"], tied)
            n += connection.changes()
        return n
