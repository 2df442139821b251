"""--tokenizer and --max-seq-length become a Recipe, before anything is listed or downloaded for it.

The tokenizer is loaded as the worker will load it, in a child process: the engine's side never imports it, and a
native crash is an error message here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from asyncdl.core.model import Recipe
from asyncdl.core.names import display, folder_name
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


async def make_recipe(
    tokenizer: str, max_seq_length: int, *, fetcher: Fetcher, endpoint: str, folder: Path, queue: Path
) -> Recipe:
    """Return the recipe, checked. folder: where a tokenizer of the Hub is kept. queue: may not exist yet.

    Raises UsageError where there is no usable tokenizer, and what `fetch_tokenizer_files` raises.
    """
    if is_path(tokenizer):
        place = _absolute(tokenizer)
        label = label_of(place)
    else:
        place = await fetch_tokenizer_files(tokenizer, fetcher=fetcher, endpoint=endpoint, folder=folder)
        label = folder_name(KNOWN_TOKENIZERS.get(tokenizer, tokenizer))
    info = await inspect(str(_absolute(str(place))))
    recipe = Recipe(
        name=f"{label}-{max_seq_length}",
        tokenizer=tokenizer,
        tokenizer_path=info.path,
        tokenizer_sha256=info.sha256,
        eos_id=info.eos_id,
        max_seq_length=max_seq_length,
    )
    return tell_apart(recipe, _recipe_in(queue, recipe.name))


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()


def _recipe_in(queue: Path, name: str) -> Recipe | None:
    if not queue.exists():
        return None
    with Reader(queue) as reader:
        return reader.recipe_named(name)


def label_of(place: Path) -> str:
    """Return what a local tokenizer is called: its folder's name, or the file's own if that says more."""
    named_by_folder = place.name == "tokenizer.json" or place.suffix != ".json"
    folder = place.parent if place.suffix == ".json" else place
    return folder_name(folder.name if named_by_folder else place.stem)


def tell_apart(recipe: Recipe, known: Recipe | None) -> Recipe:
    """Return `recipe`, renamed where `known`, of the same name, would give other tokens."""
    if known is None or (known.tokenizer_sha256, known.eos_id) == (recipe.tokenizer_sha256, recipe.eos_id):
        return recipe
    if known.tokenizer_sha256 != recipe.tokenizer_sha256:
        return replace(recipe, name=f"{recipe.name}-{recipe.tokenizer_sha256[:8]}")
    return replace(recipe, name=f"{recipe.name}-eos{recipe.eos_id}")


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
