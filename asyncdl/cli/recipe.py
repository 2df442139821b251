"""--tokenizer and the options beside it become a Recipe, before anything is listed or downloaded for it.

The tokenizer is loaded as the worker will load it, in a child process: the engine's side never imports it, and a
native crash is an error message here.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from asyncdl.core.model import Recipe
from asyncdl.core.names import display, folder_name
from asyncdl.core.recipes import USUAL, Options
from asyncdl.engine.pool import Pool
from asyncdl.errors import TransferError, UsageError
from asyncdl.net.fetch import Fetcher
from asyncdl.sources.tokenizer import KNOWN_TOKENIZERS, fetch_tokenizer_files
from asyncdl.store.reader import Reader
from workers.contract import InspectTokenizerTask, Rejected, TokenizerInfo

INSPECT_TIMEOUT_S = 120.0
"""The largest known tokenizer loads in some 3 s; a cold network disk is slower. Guess."""

_HINT = "give the path of a tokenizer.json or its folder, or the name of a model on the Hub"


def is_path(tokenizer: str) -> bool:
    """Whether --tokenizer names something on this disk rather than on the Hub. What exists wins."""
    return tokenizer.startswith((".", "/", "~")) or tokenizer.endswith(".json") or Path(tokenizer).exists()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeWish:
    """What the command line asks for. options: without bos_id, which only the tokenizer knows. output: '' is usual."""

    tokenizer: str
    max_seq_length: int
    options: Options = USUAL
    bos: bool = False
    output: str = ""


async def make_recipe(wish: RecipeWish, *, fetcher: Fetcher, endpoint: str, folder: Path, queue: Path) -> Recipe:
    """Return the recipe, checked. folder: where a tokenizer of the Hub is kept. queue: may not exist yet.

    Raises UsageError where there is no usable tokenizer, and what `fetch_tokenizer_files` raises.
    """
    tokenizer = wish.tokenizer
    if is_path(tokenizer):
        place = _absolute(tokenizer)
        label = label_of(place)
    else:
        place = await fetch_tokenizer_files(tokenizer, fetcher=fetcher, endpoint=endpoint, folder=folder)
        label = folder_name(KNOWN_TOKENIZERS.get(tokenizer, tokenizer))
    info = await inspect(str(_absolute(str(place))))
    if wish.bos and info.bos_id is None:
        raise UsageError(
            f"the tokenizer {display(tokenizer)} names no token that begins a text", hint="leave --bos out"
        )
    recipe = Recipe(
        name=f"{label}-{wish.max_seq_length}",
        tokenizer=tokenizer,
        tokenizer_path=info.path,
        tokenizer_sha256=info.sha256,
        eos_id=info.eos_id,
        max_seq_length=wish.max_seq_length,
        options=replace(wish.options, bos_id=info.bos_id if wish.bos else None),
        output_dir=str(await asyncio.to_thread(_absolute(wish.output).resolve)) if wish.output else "",
        vocab_size=info.vocab_size,
    )
    return tell_apart(recipe, await asyncio.to_thread(_recipes_in, queue))


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()


def _recipes_in(queue: Path) -> list[Recipe]:
    if not queue.exists():
        return []
    with Reader(queue) as reader:
        return reader.recipes()


def label_of(place: Path) -> str:
    """Return what a local tokenizer is called: its folder's name, or the file's own if that says more."""
    named_by_folder = place.name == "tokenizer.json" or place.suffix != ".json"
    folder = place.parent if place.suffix == ".json" else place
    return folder_name(folder.name if named_by_folder else place.stem)


def tell_apart(recipe: Recipe, known: Sequence[Recipe]) -> Recipe:
    """Return `recipe` under a name that no recipe of `known` has that makes other shards.

    Raises UsageError where another recipe writes to the same --output: a folder holds the shards of one.
    """
    by_name = {one.name: one for one in known}
    for other in known:
        if recipe.output_dir and other.output_dir == recipe.output_dir and not recipe.makes_the_same_as(other):
            raise UsageError(
                f"{display(recipe.output_dir)} is where {other.name} goes, which is made in another way",
                hint="choose another --output",
            )
    for name in (recipe.name, f"{recipe.name}-{digest_of(recipe)}"):
        if name not in by_name or recipe.makes_the_same_as(by_name[name]):
            return replace(recipe, name=name)
    raise AssertionError("two recipes have one digest")


def digest_of(recipe: Recipe) -> str:
    """Return eight digits that tell recipes of one name apart."""
    facts = [recipe.tokenizer_sha256, recipe.eos_id, recipe.options.unusual(), recipe.output_dir]
    return hashlib.sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:8]


async def inspect(path: str) -> TokenizerInfo:
    """Load the tokenizer at `path` (absolute) in a child process. Raises UsageError that says what is wrong."""
    with Pool(1) as pool:
        try:
            outcome = await pool.run(InspectTokenizerTask(path=path), timeout_s=INSPECT_TIMEOUT_S)
        except TransferError as error:  # the child died, took too long or raised
            raise UsageError(f"the tokenizer {display(path)} cannot be loaded: {error.message}", hint=_HINT) from error
    if isinstance(outcome, TokenizerInfo):
        return outcome
    assert isinstance(outcome, Rejected)
    raise UsageError(f"the tokenizer {display(path)} cannot be used: {display(outcome.message)}", hint=_HINT)
