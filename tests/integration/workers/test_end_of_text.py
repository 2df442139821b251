"""Where the token that ends a document is looked for, and in which order."""

import json
import shutil

import pytest
from tokenizers import AddedToken, Tokenizer

from tests.integration.workers.samples import EOS
from workers.contract import InspectTokenizerTask
from workers.entry import run


@pytest.fixture
def folder(tmp_path, tokenizer_folder):
    """A tokenizer with no companion files and four more special tokens."""
    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in ("<a>", "<b>", "<c>", "<d>")])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def put(folder, name, content):
    (folder / name).write_text(json.dumps(content))


def eos(folder):
    return run(InspectTokenizerTask(path=str(folder))).eos_token


def test_the_sources_are_asked_in_order(folder):
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id
    assert eos(folder) == EOS
    put(folder, "generation_config.json", {"eos_token_id": ids("<d>")})
    assert eos(folder) == "<d>"
    put(folder, "config.json", {"eos_token_id": [ids("<c>"), ids("<d>")]})
    assert eos(folder) == "<c>"
    put(folder, "special_tokens_map.json", {"eos_token": {"content": "<b>", "lstrip": False}})
    assert eos(folder) == "<b>"
    put(folder, "tokenizer_config.json", {"eos_token": "<a>"})
    assert eos(folder) == "<a>"


@pytest.mark.parametrize("named", [None, "<not a token>", {"content": None}, 7])
def test_a_source_that_names_no_token_of_the_vocabulary_is_passed_over(folder, named):
    put(folder, "tokenizer_config.json", {"eos_token": named})
    put(folder, "config.json", {"eos_token_id": []})
    put(folder, "generation_config.json", {"eos_token_id": 10**9})
    assert eos(folder) == EOS


def test_no_name_anywhere_is_no_eos(folder):
    content = (folder / "tokenizer.json").read_text().replace(EOS, "<other>")
    (folder / "tokenizer.json").write_text(content)
    assert run(InspectTokenizerTask(path=str(folder))).error_class == "no_eos"


def test_a_broken_companion_file_is_not_passed_over(folder):
    (folder / "tokenizer_config.json").write_bytes(b'{"eos_token": "\xff')
    assert run(InspectTokenizerTask(path=str(folder))).error_class == "bad_tokenizer"


def test_a_file_and_its_folder_are_the_same_tokenizer(tokenizer_folder):
    by_folder = run(InspectTokenizerTask(path=str(tokenizer_folder)))
    by_file = run(InspectTokenizerTask(path=str(tokenizer_folder / "tokenizer.json")))
    assert by_folder == by_file
    assert by_folder.path == str(tokenizer_folder / "tokenizer.json")
    assert by_folder.vocab_size == 400


def test_what_cannot_be_loaded_is_a_bad_tokenizer(tmp_path):
    assert run(InspectTokenizerTask(path=str(tmp_path))).error_class == "bad_tokenizer"
    (tmp_path / "tokenizer.json").write_text('{"model": null}')
    assert run(InspectTokenizerTask(path=str(tmp_path))).error_class == "bad_tokenizer"
    shutil.rmtree(tmp_path)
    assert run(InspectTokenizerTask(path=str(tmp_path))).error_class == "bad_tokenizer"
