"""Shards as the tokenize task really makes them, with the manifest that docs/FORMATS.md describes, and damage to both."""

from __future__ import annotations

import hashlib
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tests.integration.workers.samples import TEXTS, write_texts
from workers import entry
from workers.contract import InspectTokenizerTask, Source, TokenizeTask

LENGTH = 16


def tokenized(folder: Path, tokenizer_folder: Path, splits=("en", "sv"), **options) -> Path:
    """A folder with two shards or more in each split. options: of the tokenize task. Returns the folder."""
    folder.mkdir(parents=True)
    source = write_texts(folder / "source.parquet", [*TEXTS * 4, "the rest"])
    info = entry.run(InspectTokenizerTask(path=str(tokenizer_folder)))
    options = {"labels": "shifted", "max_shard_tokens": 90 * LENGTH} | options
    described = {}
    for split in splits:
        task = TokenizeTask(
            sources=(Source(path=str(source), source_id="org/name@0123/a.parquet"),), text_column="text",
            tokenizer_path=info.path, tokenizer_sha256=info.sha256, eos_id=info.eos_id, max_seq_length=LENGTH,
            output_dir=str(folder / split), shard_stem="shard_a", job_id=7, attempt=1, **options,
        )  # fmt: skip
        made = entry.run(task)
        described[split] = {
            "path": split,
            "shards": len(made.shards),
            "sequences": sum(shard.n_sequences for shard in made.shards),
            "tokens": made.n_tokens,
            "padding": made.n_padding,
            "shard_files": [
                {"name": one.name, "sequences": one.n_sequences, "size": one.size_bytes, "sha256": one.sha256}
                for one in made.shards
            ],
        }
    manifest = {
        "schema_version": 1, "max_seq_length": LENGTH, "labels": options["labels"], "vocab_size": info.vocab_size,
        "eos_id": info.eos_id, "splits": described,
    }  # fmt: skip
    (folder / "manifest.json").write_bytes(orjson.dumps(manifest))
    source.unlink()
    return folder


def edit(folder: Path, change) -> None:
    """Let `change` alter the manifest."""
    place = folder / "manifest.json"
    manifest = orjson.loads(place.read_bytes())
    change(manifest)
    place.write_bytes(orjson.dumps(manifest))


def vouch(folder: Path, split="en", shard=0) -> None:
    """Have the manifest name the size and sha256 that the shard has by now, as who wrote it wrongly would."""

    def change(manifest):
        entry_of = manifest["splits"][split]["shard_files"][shard]
        content = (folder / split / entry_of["name"]).read_bytes()
        entry_of |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    edit(folder, change)


def rewrite(path: Path, change, **metadata) -> None:
    """Let `change` alter the rows of a shard: dicts of lists. metadata: of the file, over what it has."""
    table = pq.read_table(path)
    schema = table.schema.with_metadata(
        table.schema.metadata | {key.encode(): v.encode() for key, v in metadata.items()}
    )
    rows = table.to_pylist()
    rows = change(rows) or rows
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, write_page_checksum=True)
