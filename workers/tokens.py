"""Loads a tokenizer.json and turns texts into token ids.

Ids equal `tokenizers`' own `encode(text, add_special_tokens=False).ids`: truncation and padding that a
tokenizer.json may ask for are switched off, nothing is added. Knows nothing of packing or files of text.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray

from workers.contract import InspectTokenizerTask, TokenizerInfo
from workers.end_of_text import find_eos
from workers.refused import Refused

_CACHED = 2  # guess: a run rarely has more vocabularies, and one may hold 300 MB


@dataclass(frozen=True, slots=True)
class Encoder:
    """backend: the library and its version, for the record of what made the ids."""

    tokenizer: tokenizers.Tokenizer
    backend: str

    def encode(self, texts: list[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The ids of all texts one after another, and offsets: text i is flat[offsets[i]:offsets[i + 1]].

        The library hands ids out as a list of Python ints per text and in no other way; each list dies as
        soon as it is copied. This function is the seam for a backend that fills arrays itself.
        Raises Refused: bad_tokenizer.
        """
        try:
            encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        except Exception as error:
            if type(error) is not Exception:  # the library raises the bare class for its own failures
                raise
            raise Refused("bad_tokenizer", f"the tokenizer failed on a text: {error}") from error
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, encodings), np.int64, len(texts)), out=offsets[1:])
        flat = np.empty(offsets[-1], np.int32)
        for i, encoding in enumerate(encodings):
            flat[offsets[i] : offsets[i + 1]] = encoding.ids
        return flat, offsets


def run(task: InspectTokenizerTask) -> TokenizerInfo:
    """Raises Refused: bad_tokenizer, no_eos."""
    path = Path(task.path)
    if path.is_dir():
        path /= "tokenizer.json"
    content = _read(path)
    tokenizer = _parse(content, path)
    eos_token, eos_id = find_eos(path.parent, tokenizer)
    return TokenizerInfo(
        path=str(path),
        sha256=hashlib.sha256(content).hexdigest(),
        vocab_size=tokenizer.get_vocab_size(with_added_tokens=True),
        eos_token=eos_token,
        eos_id=eos_id,
    )


@lru_cache(_CACHED)
def load(path: str, sha256: str) -> Encoder:
    """The tokenizer at path, kept for the life of the process. Raises Refused: bad_tokenizer."""
    content = _read(Path(path))
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Refused("bad_tokenizer", f"{path} has changed since it was chosen")
    tokenizer = _parse(content, Path(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Encoder(tokenizer, f"tokenizers {tokenizers.__version__}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise Refused("bad_tokenizer", f"{path} is not there") from error


def _parse(content: bytes, path: Path) -> tokenizers.Tokenizer:
    """From the very bytes that were hashed, so that a file replaced in between cannot slip in."""
    try:
        return tokenizers.Tokenizer.from_buffer(content)
    except ValueError as error:
        raise Refused("bad_tokenizer", f"{path}: {error}") from error
