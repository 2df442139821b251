"""Finds the tokens that begin and end a document among the files that come with a tokenizer.json.

The first source that names a token the tokenizer has wins. Knows nothing of how tokenizers are loaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tokenizers

from workers.refused import Refused

_NAMING_FILES = ("tokenizer_config.json", "special_tokens_map.json")
_NUMBERING_FILES = ("config.json", "generation_config.json")
_WELL_KNOWN = (
    "<|endoftext|>",  # GPT-2, Qwen, OLMo
    "<|end_of_text|>",  # Llama 3
    "</s>",  # Llama 1 and 2, Mistral, T5
    "<eos>",  # Gemma
    "<｜end▁of▁sentence｜>",  # DeepSeek
    "[EOS]",
)
"""Ends of text before ends of a chat turn: documents are not turns."""
_WELL_KNOWN_BEGINNINGS = (
    "<|begin_of_text|>",  # Llama 3
    "<s>",  # Llama 1 and 2, Mistral
    "<bos>",  # Gemma
    "<｜begin▁of▁sentence｜>",  # DeepSeek
    "[BOS]",
)


def find_eos(folder: Path, tokenizer: tokenizers.Tokenizer) -> tuple[str, int]:
    """(token, id). Order: eos_token by name, eos_token_id by number (the first of a list), well-known names.

    Raises Refused: no_eos, or bad_tokenizer when one of the files is not JSON.
    """
    found = _find(folder, tokenizer, "eos_token", _WELL_KNOWN)
    if found is None:
        raise Refused("no_eos", f"nothing in {folder} names an end-of-text token")
    return found


def find_bos(folder: Path, tokenizer: tokenizers.Tokenizer) -> tuple[str, int] | None:
    """(token, id) in the order of `find_eos`, or None. Raises Refused: bad_tokenizer."""
    return _find(folder, tokenizer, "bos_token", _WELL_KNOWN_BEGINNINGS)


def _find(
    folder: Path, tokenizer: tokenizers.Tokenizer, key: str, well_known: tuple[str, ...]
) -> tuple[str, int] | None:
    for token in _named(folder, key):
        token_id = tokenizer.token_to_id(token)
        if token_id is not None:
            return token, token_id
    for token_id in _numbered(folder, f"{key}_id"):
        numbered = tokenizer.id_to_token(token_id)
        if numbered is not None:
            return numbered, token_id
    added = {token.content: n for n, token in tokenizer.get_added_tokens_decoder().items()}
    return next(((token, added[token]) for token in well_known if token in added), None)


def _named(folder: Path, key: str) -> Iterator[str]:
    for name in _NAMING_FILES:
        token = _json_object(folder, name).get(key)
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str):
            yield token


def _numbered(folder: Path, key: str) -> Iterator[int]:
    for name in _NUMBERING_FILES:
        token_id = _json_object(folder, name).get(key)
        if isinstance(token_id, list) and token_id:
            token_id = token_id[0]
        if isinstance(token_id, int) and token_id >= 0:
            yield token_id


def _json_object(folder: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads((folder / name).read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise Refused("bad_tokenizer", f"{name} is not JSON: {error}") from error
    return content if isinstance(content, dict) else {}
