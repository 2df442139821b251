"""The loader for torch: tensors, and a class that its DataLoader takes for what it is.

The only module that imports torch, which asyncdl does not depend on. Knows nothing of shards or order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset

from asyncdl.loader.loader import TokenLoader


class TorchTokenLoader(TokenLoader, IterableDataset):  # type: ignore[misc,type-arg,unused-ignore]  # torch may be absent
    """A class of the module, not of a function: DataLoader workers that are spawned unpickle it by name."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Give batches of int64: `torch.nn.functional.cross_entropy` takes no other integers as targets."""
        for batch in super().__iter__():
            yield {name: torch.from_numpy(values).long() for name, values in batch.items()}
