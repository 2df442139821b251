"""A tokenizer's files arrive whole and checked, in a folder named after their commit."""

import hashlib

import pytest

from asyncdl.errors import ConfigError, RemoteError, UsageError
from asyncdl.net.fetch import Answer
from asyncdl.sources.tokenizer import fetch_tokenizer_files
from tests.unit.sources.scripted import ENDPOINT, SHA, tree

FILES = {
    "tokenizer.json": b'{"version": "1.0"}',
    "tokenizer_config.json": b'{"eos_token": "<eos>"}',
    "model.safetensors": b"weights",
}


def entry(name, content, *, lfs):
    found = {"type": "file", "path": name, "size": len(content)}
    blob = b"blob %d\0" % len(content) + content
    if lfs:
        return found | {"oid": "0" * 40, "lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}}
    return found | {"oid": hashlib.sha1(blob).hexdigest()}


@pytest.fixture
def model(hub):
    hub.repo("openai-community/gpt2", FILES, kind="models")
    entries = [entry(name, content, lfs=name == "tokenizer.json") for name, content in FILES.items()]
    hub.json(tree(f"{ENDPOINT}/api/models/openai-community/gpt2", SHA, "", False), entries)
    for name, content in FILES.items():
        url = f"{ENDPOINT}/openai-community/gpt2/resolve/{SHA}/{name}"
        hub.answers[url] = Answer(200, {}, content, url)
    return hub


async def fetched(hub, folder, name="openai-community/gpt2"):
    return await fetch_tokenizer_files(name, fetcher=hub, endpoint=ENDPOINT, folder=folder)


@pytest.mark.parametrize("name", ["gpt2", "GPT2", "openai-community/gpt2"])
async def test_the_tokenizers_files_and_no_others_arrive(model, tmp_path, name):
    place = await fetched(model, tmp_path, name)
    assert place == tmp_path / "openai-community--gpt2" / SHA
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {
        name: FILES[name] for name in ("tokenizer.json", "tokenizer_config.json")
    }


async def test_files_that_are_there_and_right_are_not_fetched_again(model, tmp_path):
    place = await fetched(model, tmp_path)
    (place / "tokenizer_config.json").write_bytes(b"damaged")
    model.asked.clear()
    await fetched(model, tmp_path)
    assert [url for url in model.asked if "/resolve/" in url] == [
        f"{ENDPOINT}/openai-community/gpt2/resolve/{SHA}/tokenizer_config.json"
    ]
    assert (place / "tokenizer_config.json").read_bytes() == FILES["tokenizer_config.json"]


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
async def test_wrong_bytes_are_never_stored(model, tmp_path, name):
    url = f"{ENDPOINT}/openai-community/gpt2/resolve/{SHA}/{name}"
    model.answers[url] = Answer(200, {}, FILES[name][:-1] + b" ", url)
    with pytest.raises(RemoteError, match="not what the Hub lists"):
        await fetched(model, tmp_path)
    assert not list(tmp_path.rglob(f"{name}*"))
    assert not list(tmp_path.rglob("*.partial"))


async def test_a_model_without_tokenizer_json_says_so(hub, tmp_path):
    hub.repo("a/b", ["tokenizer.model"], kind="models")
    with pytest.raises(UsageError, match=r"no tokenizer\.json"):
        await fetched(hub, tmp_path, "a/b")


async def test_a_gated_tokenizer_names_its_terms(model, tmp_path):
    model.refuse(f"{ENDPOINT}/openai-community/gpt2/resolve/{SHA}/tokenizer.json", 401, "GatedRepo")
    with pytest.raises(ConfigError) as caught:
        await fetched(model, tmp_path)
    assert f"accept them at {ENDPOINT}/openai-community/gpt2," in caught.value.hint


async def test_a_name_that_means_nothing_brings_the_nearest(hub, tmp_path):
    with pytest.raises(UsageError) as caught:
        await fetched(hub, tmp_path, "gtp2")
    assert "gpt2" in caught.value.hint


async def test_an_absurd_size_is_refused_before_it_is_fetched(model, tmp_path):
    huge = entry("tokenizer.json", b"", lfs=True) | {"lfs": {"oid": "0" * 64, "size": 1 << 40}}
    model.json(tree(f"{ENDPOINT}/api/models/openai-community/gpt2", SHA, "", False), [huge])
    with pytest.raises(UsageError, match="no tokenizer"):
        await fetched(model, tmp_path)
    assert not [url for url in model.asked if "/resolve/" in url]


async def test_a_place_that_cannot_be_written_is_told(model, tmp_path):
    (tmp_path / "openai-community--gpt2").write_text("a file where the folder should be")
    with pytest.raises(ConfigError, match="cannot be stored"):
        await fetched(model, tmp_path)
