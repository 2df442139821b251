"""What a recipe is called, and that two tokenizers never share a folder."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from asyncdl.cli.recipe import inspect, is_path, label_of, tell_apart
from asyncdl.core.model import Recipe
from asyncdl.core.recipes import Options
from asyncdl.engine.pool import Pool
from asyncdl.errors import TransferError, UsageError


def recipe(**other):
    values = {"name": "tok-512", "tokenizer": "tok", "tokenizer_path": "/t/tokenizer.json"}
    values |= {"tokenizer_sha256": "a" * 64, "eos_id": 0, "max_seq_length": 512} | other
    return Recipe(**values)


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/x/llama3/tokenizer.json", "llama3"),
        ("/x/llama3", "llama3"),
        ("/x/mine.json", "mine"),
        ("/x/v1.5", "v1.5"),
    ],
)
def test_a_local_tokenizer_is_called_after_its_folder_unless_its_file_says_more(path, label):
    assert label_of(Path(path)) == label


@pytest.mark.parametrize("text", ["./tok", "/tok", "~/tok", "tokenizer.json", "../x"])
def test_what_looks_like_a_path_is_one(text):
    assert is_path(text)


def test_a_name_is_of_the_hub_unless_it_exists_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_path("org/name")
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert is_path("org/name")


def test_the_same_tokenizer_keeps_its_name_wherever_it_lies():
    moved = recipe(tokenizer_path="/other/tokenizer.json")
    assert tell_apart(moved, [recipe()]) == moved
    assert tell_apart(moved, []) == moved


def test_another_tokenizer_of_that_name_gets_its_digest_added():
    other = tell_apart(recipe(tokenizer_sha256="b" * 64), [recipe()])
    assert re.fullmatch(r"tok-512-[0-9a-f]{8}", other.name)
    assert tell_apart(recipe(tokenizer_sha256="b" * 64), [recipe(), other]) == other


@pytest.mark.parametrize(
    "change",
    [{"eos_id": 7}, {"options": Options(packing="best-fit")}, {"options": Options(bos_id=1)}, {"output_dir": "/o"}],
)
def test_what_makes_other_shards_never_shares_a_name(change):
    assert tell_apart(recipe(**change), [recipe()]).name != "tok-512"


def test_one_folder_holds_the_shards_of_one_recipe():
    known = recipe(output_dir="/o", options=Options(drop_last=True))
    assert tell_apart(replace(known, id=0), [known]) == known
    with pytest.raises(UsageError, match="made in another way"):
        tell_apart(recipe(output_dir="/o"), [known])


async def test_a_tokenizer_whose_inspection_breaks_is_a_usage_error_with_a_hint(monkeypatch):
    async def breaks(*_, **__):
        raise TransferError("worker_error", "RuntimeError: odd")

    monkeypatch.setattr(Pool, "run", breaks)
    with pytest.raises(UsageError) as caught:
        await inspect("/x/tokenizer.json")
    assert "tokenizer.json" in caught.value.hint
