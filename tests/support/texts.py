"""A folder of documents in every form that can be tokenized, and putting it up as `asyncdl tokenize` does."""

from __future__ import annotations

import gzip
import json
import random
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from asyncdl.core.model import Recipe
from asyncdl.sources.folder import Walk
from asyncdl.store import migrate
from asyncdl.store.inputs import Chosen, How, Inputs
from asyncdl.store.writer import Writer
from tests.support.engine import Bench, packaged_recipe

WORDS = (
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "while",
    "rain",
    "fell",
    "and",
    "nobody",
    "said",
    "a word",
    "猫",
    "кот",
    "القط",
)


def documents(n: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randrange(1, 120))) for _ in range(n)]


def lines_of(texts: list[str]) -> bytes:
    return b"".join(json.dumps({"id": n, "text": text}).encode() + b"\n" for n, text in enumerate(texts))


def write_texts(folder: Path, *, n_small: int = 5, n_documents: int = 400) -> dict[str, list[str]]:
    """Return {file: its documents}. One large Parquet file of many row groups, one large file of lines, small ones."""
    made: dict[str, list[str]] = {
        "large.parquet": documents(8 * n_documents, 1),
        "large.jsonl": documents(8 * n_documents, 2),
    }
    (folder / "sub").mkdir(parents=True)
    table = pa.table({"id": list(range(8 * n_documents)), "text": made["large.parquet"]})
    pq.write_table(table, folder / "large.parquet", row_group_size=n_documents)
    (folder / "large.jsonl").write_bytes(lines_of(made["large.jsonl"]))
    for n in range(n_small):
        made[f"sub/{n}.jsonl.gz"] = documents(n_documents // 4, 10 + n)
        (folder / f"sub/{n}.jsonl.gz").write_bytes(gzip.compress(lines_of(made[f"sub/{n}.jsonl.gz"])))
    return made


async def put_up(bench: Bench, folder: Path, *, recipe: Recipe | None = None, force: bool = False) -> Chosen:
    """Everything below `folder` goes into the bench's queue."""
    from asyncdl.cli.text_intake import _dataset, _lost

    writer = Writer(migrate.open_writer(bench.queue), bench.queue)
    recipe = recipe or packaged_recipe()
    try:
        inputs = Inputs(writer, _dataset(folder.name, folder))
        await inputs.stage(
            [(one.subset, one.path, one.size_bytes, one.mtime_ns) for one in Walk(folder, recursive=True)]
        )
        output = bench.data_dir / "tokenized" / recipe.name
        lost = _lost(bench.queue, recipe, output, "", str(folder))
        return await inputs.finish(How(recipe=recipe, priority=5, force=force, lost=lost, now=time.time()))
    finally:
        writer.close()
