"""Finds the token that ends a document among the files that come with a tokenizer.json.

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


def find_eos(folder: Path, tokenizer: tokenizers.Tokenizer) -> tuple[str, int]:
    """(token, id). Order: eos_token by name, eos_token_id by number (the first of a list), well-known names.

    Raises Refused: no_eos, or bad_tokenizer when one of the files is not JSON.
    """
    for token in _named(folder):
        token_id = tokenizer.token_to_id(token)
        if token_id is not None:
            return token, token_id
    for token_id in _numbered(folder):
        numbered = tokenizer.id_to_token(token_id)
        if numbered is not None:
            return numbered, token_id
    added = {token.content: n for n, token in tokenizer.get_added_tokens_decoder().items()}
    for token in _WELL_KNOWN:
        if token in added:
            return token, added[token]
    raise Refused("no_eos", f"nothing in {folder} names an end-of-text token")


def _named(folder: Path) -> Iterator[str]:
    for name in _NAMING_FILES:
        token = _json_object(folder, name).get("eos_token")
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str):
            yield token


def _numbered(folder: Path) -> Iterator[int]:
    for name in _NUMBERING_FILES:
        token_id = _json_object(folder, name).get("eos_token_id")
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
