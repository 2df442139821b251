"""Putting files of this machine, and finished datasets, up for tokenizing: all of it in one transaction, or nothing.

The files of a folder are staged in a temp table while it is walked, so memory stays flat. What was tokenized of the
same content with the same recipe stays as it is; a file whose size or time changed is hashed again first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import apsw

from asyncdl.core.grouping import Grouping, number_of
from asyncdl.core.model import Dataset, Recipe
from asyncdl.core.stages import is_text_file
from asyncdl.store import sql, steering
from asyncdl.store.enqueue import put_recipe
from asyncdl.store.writer import Writer

BATCH = 1000
"""Rows that are looked at in one go."""

Covers = Literal["files", "folder", "all below"]

InputRow = tuple[str, str, int, int]
"""(subset, file, size_bytes, mtime_ns); file is relative to the dataset's folder, subset is where it lies in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What came of it, counted in tokenize jobs: a file, a part of a large one, or a group of small ones.

    n_to_do: to be done or under way. n_done: done before, with the same recipe and content. n_lost: of those to do,
    what was done before, but its shards are gone. n_to_survey: files and groups that must be looked at first. dataset:
    its name, which may have been changed where another folder has it. n_gone: files that were put up before and are not
    there any more.
    """

    dataset: str
    n_to_do: int
    n_done: int
    n_lost: int
    n_to_survey: int
    n_gone: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """recipe: what with. force: what is done already, too. lost: finished jobs whose shards are gone.

    priority: 0 first.
    """

    recipe: Recipe
    priority: int
    force: bool
    lost: Sequence[int]
    now: float


class Inputs:
    """Files of one folder of this machine. Call `stage` for every batch, then `finish` once."""

    def __init__(self, writer: Writer, template: Dataset, *, covers: Covers = "files") -> None:
        """template: the dataset with its subset left ''. Its name may be changed where another folder has it.

        covers: what was looked at as a whole; a file of it that is not staged is gone.
        """
        self._writer = writer
        self._covers = covers
        self._template = template
        self._q = sql.queries()
        self._begun = False

    async def stage(self, batch: Sequence[InputRow]) -> None:
        def change(connection: apsw.Connection) -> None:
            self._begin(connection)
            connection.executemany(self._q["stage_input"], batch)

        await self._writer.write(change)

    def _begin(self, connection: apsw.Connection) -> None:
        """Make the temp tables, or take over those of one that was given up."""
        if not self._begun:
            connection.execute(self._q["input_tables"])
            connection.execute(self._q["clear_inputs"])
            self._begun = True

    async def finish(self, how: How) -> Chosen:
        """Move what was staged into the queue."""

        def change(connection: apsw.Connection) -> Chosen:
            self._begin(connection)
            bindings: dict[str, object] = {"now": how.now, "priority": how.priority}
            template = self._named(connection)
            subsets = [str(subset) for (subset,) in sql.rows(connection, self._q["input_subsets"])]
            ids = [self._put_subset(connection, replace(template, subset=subset), how.now) for subset in subsets]
            steering.follow(connection)
            connection.execute(self._q["outdate_inputs"], bindings)
            connection.execute(self._q["reverify_changed"], bindings)
            connection.execute(self._q["note_changed"])
            n_gone = self._forget_gone(connection, template.name, bindings)
            self._put_new(connection)
            connection.execute(self._q["verify_inputs"], bindings)
            connection.execute(self._q["clear_inputs"])
            return replace(_tokenize(connection, template.name, ids, how), n_gone=n_gone)

        return await self._writer.write(change)

    def _forget_gone(self, connection: apsw.Connection, name: str, bindings: dict[str, object]) -> int:
        """What a file that is gone was packed with is packed anew without it; return how many are gone."""
        if self._covers == "files":
            return 0
        connection.execute(self._q["find_gone"], {"name": name, "is_all": self._covers == "all below"})
        for statement in ("forget_gone", "reopen_gone", "cancel_gone"):
            connection.execute(self._q[statement], bindings)
        return int(sql.rows(connection, self._q["n_gone"])[0][0])

    def _named(self, connection: apsw.Connection) -> Dataset:
        """The name under which the folder is known, or one that no other dataset has."""
        wanted = self._template
        taken = sql.rows(connection, self._q["origin_of_name"], {"name": wanted.name})
        if not taken or taken[0] == ("local", wanted.origin):
            return wanted
        return replace(wanted, name=f"{wanted.name}~{hashlib.sha256(wanted.origin.encode()).hexdigest()[:8]}")

    def _put_subset(self, connection: apsw.Connection, dataset: Dataset, now: float) -> int:
        id_ = int(sql.rows(connection, self._q["put_dataset"], asdict(dataset) | {"now": now})[0][0])
        connection.execute(self._q["put_input_subset"], {"subset": dataset.subset, "dataset_id": id_})
        return id_

    def _put_new(self, connection: apsw.Connection) -> None:
        """Each file that is new gets its job: its own, or that of a new group; those there are stay as they are."""
        grouping, of_dataset, place = Grouping("", 0), -1, ("", "")
        while rows := self._new_after(connection, place):
            for dataset_id, subset, file, size_bytes, mtime_ns in rows:
                if dataset_id != of_dataset:
                    last = sql.rows(connection, self._q["last_group"], {"dataset_id": dataset_id})
                    grouping, of_dataset = Grouping(subset, number_of(last[0][0]) if last else 0), dataset_id
                path = grouping.job_of(file, size_bytes)
                connection.execute(self._q["put_input"], (dataset_id, file, path, size_bytes, mtime_ns))
            place = rows[-1][1:3]

    def _new_after(self, connection: apsw.Connection, place: tuple[str, str]) -> list[tuple[int, str, str, int, int]]:
        subset, file = place
        return sql.rows(connection, self._q["new_inputs"], {"subset": subset, "file": file, "n": BATCH})


async def tokenize_dataset(writer: Writer, name: str, how: How) -> Chosen:
    """Tokenize what was fetched of the dataset `name`, and what is still to be fetched once it is there."""
    q = sql.queries()

    def change(connection: apsw.Connection) -> Chosen:
        ids = [int(id_) for (id_,) in sql.rows(connection, q["latest_ids"], {"name": name})]
        return _tokenize(connection, name, ids, how)

    return await writer.write(change)


def _tokenize(connection: apsw.Connection, dataset: str, ids: Sequence[int], how: How) -> Chosen:
    q = sql.queries()
    connection.execute(q["chosen_table"])
    connection.execute(q["clear_chosen"])
    for id_ in ids:
        connection.execute(q["choose_one"], {"dataset_id": id_})
    bindings: dict[str, object] = {
        "now": how.now, "priority": how.priority, "recipe_id": put_recipe(connection, how.recipe),
    }  # fmt: skip
    connection.create_scalar_function("is_text_file", _is_text_file, 1, deterministic=True)
    connection.execute(q["tie_chosen"], bindings)
    connection.execute(q["verify_downloaded"], bindings)
    if how.force:
        connection.execute(q["reopen_all"], bindings)
    n_lost = 0
    for id_ in how.lost:
        connection.execute(q["redo"], bindings | {"id": id_})
        n_lost += connection.changes()
    connection.execute(q["hold_unverified"], bindings)
    connection.execute(q["tokenize_chosen"], bindings)
    n_to_do, n_done = sql.rows(connection, q["n_chosen"], bindings)[0]
    n_to_survey = sql.rows(connection, q["n_to_survey"])[0][0]
    return Chosen(dataset=dataset, n_to_do=n_to_do, n_done=n_done, n_lost=n_lost, n_to_survey=n_to_survey)


def _is_text_file(*path: apsw.SQLiteValue) -> bool:
    return is_text_file(str(path[0]))
