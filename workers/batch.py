"""Documents on their way from a source to the tokenizer: batches bounded by bytes and by number, and what was counted.

Memory is bounded by a batch, or by a document. Knows neither files nor tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from workers.contract import BadLine

BATCH_TEXT_BYTES = 4 << 20  # guess: the tokenizer holds some 20 bytes for each byte of it
PIECE_BYTES = 8 << 20  # guess: of a document that is cut; as few cuts as memory allows
_BATCH_DOCUMENTS = 1 << 15  # guess: some 60 bytes of Python object each; empty documents count no bytes


@dataclass(slots=True)
class Batch:
    """texts: documents, but the last is only the beginning of one where not `ends`: it goes on in the next batch.

    n_bytes: of UTF-8. n_split: documents cut in pieces that begin here.
    """

    texts: list[str] = field(default_factory=list)
    n_bytes: int = 0
    ends: bool = True
    n_split: int = 0

    @property
    def is_full(self) -> bool:
        return self.n_bytes >= BATCH_TEXT_BYTES or len(self.texts) >= _BATCH_DOCUMENTS

    def take(self, part: Batch) -> None:
        """Add what another holds and leave it without texts, so that this one alone keeps them in memory."""
        self.texts += part.texts
        part.texts.clear()
        self.n_bytes += part.n_bytes
        self.n_split += part.n_split
        self.ends = part.ends


@dataclass(slots=True)
class Counts:
    """What the sources held besides documents; the fields of the same names in `contract.Tokenized`."""

    n_null: int = 0
    n_lines: int = 0
    n_bad: Counter[str] = field(default_factory=Counter)
    bad_lines: list[BadLine] = field(default_factory=list)


def grouped(parts: Iterable[Batch]) -> Iterator[Batch]:
    """The same documents with at least one text in a batch, and BATCH_TEXT_BYTES or a little more."""
    batch = Batch()
    for part in parts:
        batch.take(part)
        if batch.is_full or not batch.ends:
            yield batch
            batch = Batch()
    if batch.texts:
        yield batch


def in_pieces(pieces: Iterable[memoryview], n_bytes: int) -> Iterator[Batch]:
    """One document of n_bytes, at least 1, that came cut. Raises UnicodeDecodeError."""
    left, n_split = n_bytes, 1
    for piece in pieces:
        left -= len(piece)
        yield Batch([str(piece, "utf-8")], len(piece), ends=not left, n_split=n_split)
        n_split = 0
