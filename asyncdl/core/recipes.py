"""How documents become shards, beside tokenizer and length: the options of a recipe, and what is usual.

Pure. A recipe with the usual options is stored as `{}`, so that what becomes usual to write down later stays the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from workers.contract import Compression, LabelsConvention, Packing

MAX_SHARD_TOKENS = 500_000_000
"""2 GB of input_ids at 4 bytes each, the seed's measure of a shard; packed with zstd-1 the file is ~1.6 GB."""

BYTES_PER_ID = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `TokenizeTask` has under the same names.

    text_field: the column or field that holds the text; '' is that of the dataset.
    """

    packing: Packing = "concat"
    labels: LabelsConvention = "shifted"
    bos_id: int | None = None
    add_eos: bool = True
    drop_last: bool = False
    seq_lengths: bool = False
    compression: Compression = "zstd"
    max_shard_tokens: int = MAX_SHARD_TOKENS
    max_bad_share: float = 0.01
    text_field: str = ""

    def unusual(self) -> dict[str, Any]:
        """Return what is not as usual; `Options(**unusual)` is this again."""
        usual = asdict(USUAL)
        return {name: value for name, value in asdict(self).items() if value != usual[name]}


USUAL = Options()
