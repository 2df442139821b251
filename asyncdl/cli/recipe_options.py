"""How documents become shards, as options of a verb: what `enqueue` and `tokenize` share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from asyncdl.core.recipes import BYTES_PER_ID, USUAL, Options
from asyncdl.errors import UsageError
from asyncdl.settings import parse_size

if TYPE_CHECKING:
    from asyncdl.cli.recipe import RecipeWish

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_MAX_SEQ_LENGTH = 8192

_CHOICES = {
    "--packing": (["concat", "best-fit"], "concat, as usual: cut the stream of documents; best-fit: keep them whole."),
    "--labels": (["shifted", "hf"], "shifted, as usual, or hf for trainers that shift by themselves."),
    "--compression": (["zstd", "snappy"], "Of the shards; zstd."),
}
_FLAGS = {
    "--bos": "Begin each document with the tokenizer's BOS.",
    "--no-eos": "Do not end documents with EOS.",
    "--drop-last": "Drop the last sequence of a file rather than pad it.",
    "--seq-lengths": "Add a column with the lengths of the documents.",
}
_TEXTS = {
    "--shard-size SIZE": "input_ids of one shard at most, 4 bytes each; 2GB.",
    "--text-field NAME": "Column or JSON field of the text; what the catalogue says, else text.",
    "--output DIR": "Where the shards go; DATA_DIR/tokenized/<tokenizer>-<length>.",
}
_OPTIONS = (
    click.option("--max-seq-length", type=click.IntRange(2, 1 << 20), metavar="N", help="Tokens per sequence; 8192."),
    *(click.option(flag, type=click.Choice(names), help=text) for flag, (names, text) in _CHOICES.items()),
    *(click.option(flag, is_flag=True, default=None, help=text) for flag, text in _FLAGS.items()),
    *(
        click.option(flag, metavar=metavar, help=text)
        for (flag, metavar), text in ((name.split(), text) for name, text in _TEXTS.items())
    ),
    click.option(
        "--max-bad-lines",
        type=click.FloatRange(0, 100),
        metavar="PERCENT",
        help="Lines of JSON that may be bad before their file is refused; 1.",
    ),
)


def recipe_options(function: F) -> F:
    """Add all options of a recipe but --tokenizer, each None where it is not given."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def take_recipe(given: dict[str, Any]) -> RecipeWish | None:
    """Take what makes a recipe out of `given`, the verb's options; None without --tokenizer.

    Raises UsageError for what makes no sense.
    """
    from asyncdl.cli.recipe import RecipeWish

    names = (
        "max_seq_length", "packing", "labels", "bos", "no_eos", "drop_last", "seq_lengths", "compression", "shard_size",
        "text_field", "max_bad_lines", "output",
    )  # fmt: skip
    chosen = {name: value for name in names if (value := given.pop(name)) is not None}
    tokenizer = given.pop("tokenizer")
    if tokenizer is None:
        for name in chosen:
            raise UsageError(
                f"--{name.replace('_', '-')} needs --tokenizer", hint="leave it out to fetch the files only"
            )
        return None
    max_seq_length = chosen.get("max_seq_length", DEFAULT_MAX_SEQ_LENGTH)
    return RecipeWish(
        tokenizer=tokenizer,
        max_seq_length=max_seq_length,
        options=Options(
            packing=chosen.get("packing", USUAL.packing),
            labels=chosen.get("labels", USUAL.labels),
            add_eos=not chosen.get("no_eos", False),
            drop_last=chosen.get("drop_last", False),
            seq_lengths=chosen.get("seq_lengths", False),
            compression=chosen.get("compression", USUAL.compression),
            max_shard_tokens=_shard_tokens(chosen.get("shard_size"), max_seq_length),
            max_bad_share=chosen.get("max_bad_lines", USUAL.max_bad_share * 100) / 100,
            text_field=chosen.get("text_field", ""),
        ),
        bos=chosen.get("bos", False),
        output=chosen.get("output", ""),
    )


def _shard_tokens(size: str | None, max_seq_length: int) -> int:
    if size is None:
        return USUAL.max_shard_tokens
    try:
        n_tokens = parse_size(size) // BYTES_PER_ID
    except ValueError as error:
        raise UsageError(f"--shard-size: {error}") from None
    if n_tokens < max_seq_length:
        raise UsageError(
            f"--shard-size {size} is less than one sequence of {max_seq_length} tokens",
            hint=f"take {max_seq_length * BYTES_PER_ID} bytes or more",
        )
    return n_tokens
