"""Packed shards as batches for training. Reads a manifest and its shards; never the queue, never the network.

Stands apart from the rooms that fill the disk: it needs numpy and pyarrow, and what it reads is docs/FORMATS.md alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from asyncdl.errors import ConfigError
from asyncdl.loader.loader import Options, TokenLoader
from asyncdl.loader.manifest import read_shards

__all__ = ["TokenLoader", "load_tokens"]


def load_tokens(  # noqa: PLR0913  # each is a property of a training run that its script knows and names
    path: str | os.PathLike[str],
    splits: str | Iterable[str] | None = None,
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    seed: int | None = None,
    drop_last: bool = True,
    as_torch: bool = False,
) -> TokenLoader:
    """Batches of the sequences under `path`, for one process of a training run. Iterating is one epoch.

    A batch is a dict of `input_ids`, `attention_mask` and `labels`, each of shape (batch_size, max_seq_length), always:
    numpy int32, or with `as_torch` tensors of int64 (what torch's losses take). It is its receiver's to write to.
    What the labels mean is in the manifest, `labels`: `shifted` ones are compared with the logits as they stand.

    path: the folder tokenized/<tokenizer>-<length>, or its manifest.json. splits: names in the manifest, None for all.
    rank, world_size: as in torch.distributed; ranks share no sequence, and all get the same number of batches.
    seed: None keeps the order of the manifest. A number shuffles the row groups of all shards and the sequences in
    each, anew for every epoch. The order depends on shards, options and epoch alone, not on the version of numpy nor
    on DataLoader workers. drop_last: the rest that does not fill a batch on every rank is left out; with a seed, each
    epoch leaves another. False gives every sequence exactly once over all ranks and fills the last batches up with
    sequences of padding (mask 0, labels -100). It is for evaluation; sum the losses, for a batch may be all padding.
    as_torch: the loader is an `IterableDataset` too, for `DataLoader(loader, batch_size=None, num_workers=n)`.

    Every shard's footer is looked at here. Iterating holds one row group (4 MB of ids, of asyncdl's) and a batch.

    Raises UsageError (an unknown split, a rank outside the world, not one batch), ConfigError (no manifest, no torch)
    and ShardError (a shard is missing or is not what the manifest says; iterating may raise it too).
    """
    options = Options(batch_size, rank, world_size, seed, drop_last)
    names = (splits,) if isinstance(splits, str) else splits
    shards = read_shards(Path(path), None if names is None else tuple(names))
    return (_torch_loader() if as_torch else TokenLoader)(shards, options)


def _torch_loader() -> type[TokenLoader]:
    try:
        from asyncdl.loader.torch_loader import TorchTokenLoader
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ConfigError("torch is not installed", hint="install it, or leave as_torch out for numpy") from error
    return TorchTokenLoader
