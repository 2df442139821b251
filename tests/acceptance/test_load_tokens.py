"""What `run` leaves on disk is what trainers load: ours, and the one that the project replaces tokenizers for."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from asyncdl import load_tokens

DANISH = ("enqueue", "fineweb-2", "--lang", "dan_Latn", "--tokenizer", "demo/tokenizer", "--max-seq-length", "128")


@pytest.fixture
async def tokenized(shell, hub):
    assert (await shell(*DANISH)).code == 0
    assert (await shell("run")).code == 0
    return shell.folder / "datasets" / "tokenized" / "demo--tokenizer-128"


def consumer(folder, names=None):
    """As the seed's trainer finds its data: input_ids of each split, by manifest, glob and footer; nothing else."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in names or manifest["splits"]:
        split = manifest["splits"][name]
        files = sorted((folder / split["path"]).glob("shard_*.parquet"))
        assert len(files) == split["shards"]
        assert sum(pq.read_metadata(file).num_rows for file in files) == split["sequences"]
        for file in files:
            yield from pq.read_table(file, columns=["input_ids"])["input_ids"].to_pylist()


async def test_load_tokens_gives_what_the_other_consumer_reads(tokenized):
    manifest = json.loads((tokenized / "manifest.json").read_text())
    for names in (None, *([name] for name in manifest["splits"])):
        loader = load_tokens(tokenized, names, batch_size=4, drop_last=False)
        batches = list(loader)
        ids = np.concatenate([batch["input_ids"] for batch in batches])
        assert ids[: loader.n_sequences].tolist() == list(consumer(tokenized, names))
        masks = np.concatenate([batch["attention_mask"] for batch in batches])
        assert not masks[loader.n_sequences :].any(), "the rest is padding"
    n_padding = sum(split["padding"] for split in manifest["splits"].values())
    masks = [batch["attention_mask"] for batch in load_tokens(tokenized, batch_size=1)]
    assert sum(int((mask == 0).sum()) for mask in masks) == n_padding > 0
