"""Sequences become the shards of one task, cut by counting sequences and nothing else.

Invariant: the same sequences make the same row groups and shards, however they came in batches. Shards get their
names together, once all are whole; leftovers of earlier runs go only after that. Knows nothing of documents or
tokenizers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workers.contract import Shard, TokenizeTask
from workers.room import needing_room
from workers.sequences import Sequences, joined
from workers.shard_file import OpenShard, make_folder, sync_folder

_ROW_GROUP_TOKENS = 1 << 20  # 12 MB decoded: a reader gets one in some milliseconds, and files grow by 0.1 %


@contextmanager
def writing(task: TokenizeTask) -> Iterator[ShardWriter]:
    """A writer whose partial is gone if the body fails. Raises Refused: no_room."""
    writer = ShardWriter(task)
    try:
        with needing_room(task.output_dir):
            make_folder(Path(task.output_dir))
            yield writer
    finally:
        writer.abandon()


class ShardWriter:
    """Takes sequences in order, fills shards, and publishes them all in the end.

    Not before: a source that turns out bad at its end must leave nothing that readers would take for whole.
    """

    def __init__(self, task: TokenizeTask) -> None:
        """Raises ValueError if not even one sequence fits into a shard."""
        if task.max_seq_length > task.max_shard_tokens:
            raise ValueError("max_shard_tokens is smaller than one sequence")
        self._task = task
        self._sequences_per_shard = task.max_shard_tokens // task.max_seq_length
        self._sequences_per_group = min(self._sequences_per_shard, max(1, _ROW_GROUP_TOKENS // task.max_seq_length))
        self._held: list[Sequences] = []  # of the row group to come
        self._n_held = 0
        self._open: OpenShard | None = None
        self._sealed: list[OpenShard] = []

    def add(self, sequences: Sequences) -> None:
        """Raises OSError."""
        start = 0
        while start < len(sequences):
            n = min(len(sequences) - start, self._group_size() - self._n_held)
            self._held.append(sequences.part(start, start + n))
            self._n_held += n
            start += n
            if self._n_held == self._group_size():
                self._write_group()

    def finish(self, last: Sequences) -> tuple[Shard, ...]:
        """Take the last sequences and publish all shards.

        Only then are leftovers of earlier runs removed. Raises OSError.
        """
        self.add(last)
        if self._n_held:
            self._write_group()
        if self._open:
            self._seal(self._open)
        published = tuple(shard.publish() for shard in self._sealed)
        self._sealed.clear()
        sync_folder(Path(self._task.output_dir))
        self._remove_stale(len(published))
        return published

    def abandon(self) -> None:
        """Remove the partials that were not published. Never raises for want of room."""
        for shard in (*self._sealed, *([self._open] if self._open else [])):
            shard.discard()
        self._sealed.clear()
        self._open = None

    def _group_size(self) -> int:
        """Sequences of the row group being held: the last of a shard may be shorter."""
        n_in_shard = self._open.n_sequences if self._open else 0
        return min(self._sequences_per_group, self._sequences_per_shard - n_in_shard)

    def _write_group(self) -> None:
        if self._open is None:
            self._open = OpenShard(self._task, len(self._sealed))
        self._open.write_group(joined(self._held))
        self._held = []
        self._n_held = 0
        if self._open.n_sequences == self._sequences_per_shard:
            self._seal(self._open)

    def _seal(self, shard: OpenShard) -> None:
        shard.seal()
        self._sealed.append(shard)
        self._open = None

    def _remove_stale(self, n_shards: int) -> None:
        """Shards of a longer run before this one, or of one in other parts, which a reader would take for ours.

        And dead partials; a partial of a later job or attempt is somebody's work in progress and stays.
        """
        task, folder = self._task, Path(self._task.output_dir)
        pattern = re.escape(task.shard_stem) + r"(?:~p(\d{4,}))?-(\d{4,})\.parquet(?:\.partial\.(\d+)-(\d+))?"
        for path in list(folder.iterdir()):
            match = re.fullmatch(pattern, path.name)
            if match is None:
                continue
            part, index, job_id, attempt = match.groups()
            if not self._answers_for(part):
                continue
            if job_id is not None:
                stale = (int(job_id), int(attempt)) < (task.job_id, task.attempt)
            else:
                stale = not self._is_own(part) or int(index) >= n_shards
            if stale:
                path.unlink(missing_ok=True)  # another attempt at the same task cleans up too
        sync_folder(folder)

    def _is_own(self, part: str | None) -> bool:
        return (self._task.n_parts == 1) if part is None else (self._task.n_parts > 1 and int(part) == self._task.part)

    def _answers_for(self, part: str | None) -> bool:
        """Its own shards, and of part 0 also those in parts that there are none of any more."""
        n_parts = self._task.n_parts
        exists = (n_parts == 1) if part is None else (n_parts > 1 and int(part) < n_parts)
        return self._is_own(part) or (self._task.part == 0 and not exists)
