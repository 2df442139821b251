"""Holds one shard against what its manifest says: size and sha256, and on wish every sequence in it.

Invariant: what passed has the digest of the manifest; deep, every page was decoded and every sequence looked at. Shares
no rule with the code that packs, so that a fault there is seen here. Knows neither the manifest nor the other shards.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from workers.contract import CheckShardTask, ShardChecked
from workers.parquet_file import batch_rows, blaming, open_parquet
from workers.refused import Refused

_COLUMNS = ("input_ids", "attention_mask", "labels")
_LENGTHS = "seq_lengths"
_IGNORED = -100  # what docs/FORMATS.md puts where nothing is to be predicted
_BATCH_BYTES = 8 << 20  # guess: of one column, decoded
_BYTES_PER_ID = 4


def run(task: CheckShardTask) -> ShardChecked:
    """Raises Refused: missing_file, shard_differs; deep also bad_footer, bad_pages. OSError where it cannot be read."""
    _check_bytes(task)
    if not task.deep:
        return ShardChecked()
    with open_parquet(task.path) as file:
        return _check_sequences(file, task)


def _check_bytes(task: CheckShardTask) -> None:
    path = Path(task.path)
    try:
        found = path.stat()
        if not S_ISREG(found.st_mode):
            _differs("is not a regular file")  # to open a pipe would wait for ever
        if found.st_size != task.size_bytes:
            _differs(f"has {found.st_size} bytes, the manifest says {task.size_bytes}")
        with path.open("rb", buffering=0) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Refused("missing_file", "is in the manifest, but not there") from error
    if sha256 != task.sha256:
        _differs(f"its sha256 is {sha256}, the manifest says {task.sha256}")


def _check_sequences(file: pq.ParquetFile, task: CheckShardTask) -> ShardChecked:
    rules = _rules(file.schema_arrow, task)
    n_rows, n_tokens = file.metadata.num_rows, 0
    if n_rows != task.n_sequences:
        _differs(f"has {n_rows} sequences, the manifest says {task.n_sequences}")
    n_read = 0
    n_batch = batch_rows(n_rows, n_rows * rules.length * _BYTES_PER_ID, _BATCH_BYTES)
    with blaming("bad_pages"):
        for batch in file.iter_batches(n_batch, use_threads=False):
            batch.validate(full=True)
            n_tokens += _check_batch(batch, n_read, rules)
            n_read += batch.num_rows
    if n_read != n_rows:
        raise Refused("bad_pages", f"{n_read} sequences could be read, the footer says {n_rows}")
    return ShardChecked(n_tokens=n_tokens, n_padding=n_rows * rules.length - n_tokens)


@dataclass(frozen=True, slots=True)
class _Rules:
    """labels: None where nobody names a convention. has_lengths: there is a column of document lengths."""

    length: int
    vocab_size: int | None
    labels: str | None
    has_lengths: bool


def _rules(schema: pa.Schema, task: CheckShardTask) -> _Rules:
    """What the sequences are held to. Refuses a shard whose own metadata contradicts the manifest."""
    names = (*_COLUMNS, _LENGTHS) if _LENGTHS in schema.names else _COLUMNS
    for name in names:
        position = schema.get_field_index(name)  # -1 too where the name is there twice
        if position < 0 or schema.field(position).type != pa.list_(pa.int32()):
            _differs(f"has no column {name} of list<int32>")
    said = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in _metadata(schema)}
    for key, wanted in (("max_seq_length", str(task.max_seq_length)), ("labels_convention", task.labels)):
        if wanted is not None and said.get(key, wanted) != wanted:
            _differs(f"says of itself that its {key} is {said[key][:40]}, the manifest says {wanted}")
    labels = task.labels or said.get("labels_convention")
    return _Rules(task.max_seq_length, task.vocab_size, labels, _LENGTHS in names)


def _metadata(schema: pa.Schema) -> list[tuple[bytes, bytes]]:
    return list((schema.metadata or {}).items())


def _check_batch(batch: pa.RecordBatch, first: int, rules: _Rules) -> int:
    """How many tokens the mask marks. first: the number of the batch's first sequence in the shard."""
    ids, mask, labels = (_square(batch, name, first, rules.length) for name in _COLUMNS)
    ceiling = np.iinfo(np.int32).max if rules.vocab_size is None else rules.vocab_size - 1
    _expect((ids >= 0) & (ids <= ceiling), first, f"an id outside the vocabulary (0 to {ceiling})")
    n_real = mask.sum(axis=1, dtype=np.int64)
    places = np.arange(rules.length)
    _expect(mask == (places < n_real[:, np.newaxis]), first, "an attention_mask that is not ones and then zeros")
    if rules.labels is not None:
        wanted = _labels_of(ids, mask, rules.labels)
        _expect(labels == wanted, first, f"labels that are not those of the convention {rules.labels}")
    if rules.has_lengths:
        sums = _sums(batch, first)
        _expect((sums == n_real)[:, np.newaxis], first, "seq_lengths that do not add up to its tokens")
    return int(n_real.sum())


def _labels_of(ids: NDArray[np.int32], mask: NDArray[np.int32], convention: str) -> NDArray[np.int32]:
    """What `LabelsConvention` says, of sequences whose mask is right."""
    if convention == "hf":
        return np.where(mask == 1, ids, np.int32(_IGNORED))
    if convention != "shifted":
        _differs(f"says that its labels are {convention[:40]}, which is no convention")
    labels = np.full_like(ids, _IGNORED)
    labels[:, :-1] = np.where(mask[:, 1:] == 1, ids[:, 1:], _IGNORED)
    return labels


def _square(batch: pa.RecordBatch, name: str, first: int, length: int) -> NDArray[np.int32]:
    """A column as (n, length): a view of Arrow's memory."""
    values, offsets = _flat(batch, name, first)
    n_each = np.diff(offsets)
    if (n_each != length).any():
        i = int((n_each != length).argmax())
        _differs(f"sequence {first + i}: {name} has {n_each[i]} values, not {length}")
    return values.reshape(-1, length)


def _sums(batch: pa.RecordBatch, first: int) -> NDArray[np.int64]:
    """What the document lengths of each sequence add up to; -1 where one is negative."""
    values, offsets = _flat(batch, _LENGTHS, first)
    upto = np.concatenate([np.zeros(1, np.int64), np.cumsum(values, dtype=np.int64)])
    n_negative = np.concatenate([np.zeros(1, np.int64), np.cumsum(values < 0, dtype=np.int64)])
    sums = upto[offsets[1:]] - upto[offsets[:-1]]
    return np.where(n_negative[offsets[1:]] > n_negative[offsets[:-1]], -1, sums)


def _flat(batch: pa.RecordBatch, name: str, first: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The values of all lists, one after the other, and where each list begins and the last one ends."""
    lists = batch.column(batch.schema.get_field_index(name))
    values = lists.flatten()
    if lists.null_count or values.null_count:
        _differs(f"{name} has nulls in one of the sequences {first} to {first + len(lists) - 1}")
    offsets = np.frombuffer(lists.buffers()[1], np.int32, len(lists) + 1, lists.offset * _BYTES_PER_ID)
    flat = values.buffers()[1]
    if flat is None or not len(values):
        return np.empty(0, np.int32), offsets - offsets[0]
    return np.frombuffer(flat, np.int32, len(values), values.offset * _BYTES_PER_ID), offsets - offsets[0]


def _expect(right: NDArray[np.bool_], first: int, otherwise: str) -> None:
    """right: (n, any); the first sequence that is not all right is named."""
    if not right.all():
        _differs(f"sequence {first + int((~right.all(axis=1)).argmax())} has {otherwise}")


def _differs(what: str) -> NoReturn:
    raise Refused("shard_differs", what)
