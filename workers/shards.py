"""Sequences become the shards of one task, cut by counting sequences and nothing else.

Invariant: the same sequences make the same row groups and shards, however they came in batches. Leftovers
of earlier runs go only after the last shard is published. Knows nothing of documents or tokenizers.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workers.contract import Shard, TokenizeTask
from workers.refused import Refused
from workers.sequences import Sequences, joined
from workers.shard_file import OpenShard, make_folder, sync_folder

_ROW_GROUP_TOKENS = 1 << 20  # 12 MB decoded: a reader gets one in some milliseconds, and files grow by 0.1 %
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def writing(task: TokenizeTask) -> Iterator[ShardWriter]:
    """A writer whose partial is gone if the body fails. Raises Refused: no_room."""
    writer = ShardWriter(task)
    try:
        make_folder(Path(task.output_dir))
        yield writer
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise Refused("no_room", f"{task.output_dir}: {error.strerror}") from error
        raise
    finally:
        writer.abandon()


class ShardWriter:
    """Takes sequences in order and publishes each shard as it fills."""

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
        self._shards: list[Shard] = []

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
        """Take the last sequences and publish what is open.

        Only then are leftovers of earlier runs removed. Raises OSError.
        """
        self.add(last)
        if self._n_held:
            self._write_group()
        if self._open:
            self._publish(self._open)
        self._remove_stale()
        return tuple(self._shards)

    def abandon(self) -> None:
        """Remove the partial that is open, if one is. Never raises for want of room."""
        if self._open:
            self._open.discard()
            self._open = None

    def _group_size(self) -> int:
        """Sequences of the row group being held: the last of a shard may be shorter."""
        n_in_shard = self._open.n_sequences if self._open else 0
        return min(self._sequences_per_group, self._sequences_per_shard - n_in_shard)

    def _write_group(self) -> None:
        if self._open is None:
            self._open = OpenShard(self._task, len(self._shards))
        self._open.write_group(joined(self._held))
        self._held = []
        self._n_held = 0
        if self._open.n_sequences == self._sequences_per_shard:
            self._publish(self._open)

    def _publish(self, shard: OpenShard) -> None:
        self._shards.append(shard.publish())
        self._open = None

    def _remove_stale(self) -> None:
        """Shards of a longer run before this one, which a reader would take for ours, and dead partials.

        A partial of a later job or attempt is somebody's work in progress and stays.
        """
        folder = Path(self._task.output_dir)
        ours = re.compile(re.escape(self._task.shard_stem) + r"-(\d{4,})\.parquet(?:\.partial\.(\d+)-(\d+))?")
        for path in list(folder.iterdir()):
            match = ours.fullmatch(path.name)
            if match is None:
                continue
            index, job_id, attempt = match.groups()
            if job_id is None:
                stale = int(index) >= len(self._shards)
            else:
                stale = (int(job_id), int(attempt)) < (self._task.job_id, self._task.attempt)
            if stale:
                path.unlink(missing_ok=True)  # another attempt at the same task cleans up too
        sync_folder(folder)
