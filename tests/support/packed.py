"""Folders of packed shards with their manifest, of any shape one asks for, written as docs/FORMATS.md describes them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

COLUMNS = ("input_ids", "attention_mask", "labels")
PAD_ID = 7


def packed(
    folder: Path, splits: dict[str, list[list[int]]], length: int = 4, convention: str = "shifted", **options
) -> Path:
    """splits: name -> shards -> sequences of each row group. Sequence n over all has ids n * length ... + length - 1.

    convention: what the shards say of their labels, which are shifted. options: of the Parquet writer. Returns the folder.
    """
    n, described = 0, {}
    for name, shards in splits.items():
        (folder / name).mkdir(parents=True)
        files = []
        for index, sizes in enumerate(shards):
            groups = []
            for size in sizes:
                groups.append(np.arange(n * length, (n + size) * length, dtype=np.int32).reshape(size, length))
                n += size
            files.append(_write(folder / name / f"shard_a-{index:04d}.parquet", groups, length, convention, options))
        n_sequences = sum(file["sequences"] for file in files)
        described[name] = {"path": name, "shards": len(files), "sequences": n_sequences, "shard_files": files}
    manifest = {"schema_version": 1, "max_seq_length": length, "eos_id": PAD_ID, "splits": described}
    (folder / "manifest.json").write_bytes(orjson.dumps(manifest))
    return folder


def numbers(batch, length: int = 4) -> list[int]:
    """The numbers of the sequences in a batch, without those of padding; all three columns must agree."""
    ids, mask, labels = (np.asarray(batch[name]) for name in ("input_ids", "attention_mask", "labels"))
    real = mask.any(axis=1)
    assert mask[real].all()
    assert (ids[~real] == PAD_ID).all()
    assert (labels[~real] == -100).all()
    assert (labels[real, :-1] == ids[real, 1:]).all()
    assert (labels[real, -1] == -100).all()
    assert (np.diff(ids[real], axis=1) == 1).all()
    return (ids[real, 0] // length).tolist()


def _write(path: Path, groups: list[NDArray[np.int32]], length: int, convention: str, options: dict) -> dict:
    """One shard as docs/FORMATS.md has it, a row group for each array of ids; its entry in the manifest."""
    metadata = {"max_seq_length": str(length), "labels_convention": convention}
    schema = pa.schema([(name, pa.list_(pa.int32())) for name in COLUMNS], metadata=metadata)
    options = {
        "compression": "zstd",
        "use_dictionary": ["attention_mask.list.element"],
        "write_page_checksum": True,
    } | options
    with pq.ParquetWriter(path, schema, **options) as writer:
        for ids in groups:
            labels = np.full_like(ids, -100)
            labels[:, :-1] = ids[:, 1:]
            columns = [_lists(values) for values in (ids, np.ones_like(ids), labels)]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=len(ids))
    return {
        "name": path.name,
        "sequences": sum(map(len, groups)),
        "size": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def _lists(values: NDArray[np.int32]) -> pa.Array:
    offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.reshape(-1)))
