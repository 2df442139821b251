"""Every name of the catalogue leads to its entry; a bad entry is named with file, line and reason."""

import re
from pathlib import Path

import pytest

from asyncdl.errors import ConfigError, UsageError
from asyncdl.sources.catalog import PACKAGED, Catalog, load_catalog, users_place
from asyncdl.sources.entries import Entry
from asyncdl.sources.layout import facets_of

SEED = {
    "bigcode/the-stack-march-sample-special-tokens-stripped": ("the-stack-march", "content"),
    "codeparrot/github-code": ("github-code", "code"),
    "bigcode/the-stack-github-issues": ("the-stack-github-issues", "content"),
    "iohadrubin/wikitext-103-raw-v1": ("wikitext-103", "text"),
    "togethercomputer/RedPajama-Data-1T": ("redpajama-1t", "text"),
    "manu/project_gutenberg": ("gutenberg", "text"),
    "common-pile/arxiv_papers": ("arxiv", "text"),
    "vblagoje/cc_news": ("cc_news", "text"),
    "HuggingFaceH4/ultrachat_200k": ("ultrachat-200k", "messages"),
    "oscar-corpus/mOSCAR": ("moscar", "text"),
    "allenai/c4": ("c4", "text"),
    "wikimedia/wikipedia": ("wikipedia", "text"),
    "HuggingFaceFW/fineweb-2": ("fineweb-2", "text"),
}


@pytest.mark.parametrize("repo", SEED)
def test_the_thirteen_datasets_are_found_by_short_name_and_by_id(repo):
    short, field = SEED[repo]
    catalog = load_catalog()
    for name in (short, repo, repo.lower(), repo.rpartition("/")[2]):
        entry = catalog.find(name)
        assert (entry.id, entry.text_field, entry.name) == (repo, field, short)
    assert len(catalog.entries) == len(SEED) == len(list(PACKAGED.glob("*.toml")))


@pytest.mark.parametrize(
    ("dataset", "name", "code"),
    [
        ("fineweb-2", "sv", "swe_Latn"),
        ("fineweb-2", "Swedish", "swe_Latn"),
        ("fineweb-2", "swe_latn", "swe_Latn"),
        ("moscar", "en", "eng_Latn"),
        ("c4", "norwegian", "no"),
        ("wikipedia", "dut", "nl"),
    ],
)
def test_another_name_of_a_language_is_an_error_that_tells_the_code(dataset, name, code):
    with pytest.raises(UsageError) as caught:
        load_catalog().find(dataset).language(name)
    assert caught.value.hint == f"did you mean {code}?"


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("fineweb-2", "swe_Latn"),
        ("fineweb-2", "afr_Latn"),
        ("fineweb-2", "swe_Latn_removed"),
        ("fineweb-2", "no"),
        ("github-code", "sv"),
    ],
)
def test_a_language_is_only_ever_matched_whole(dataset, name):
    assert load_catalog().find(dataset).language(name) == name


def test_a_users_entry_wins_over_a_packaged_one(nobodys_catalog):
    (nobodys_catalog / "c4.toml").write_text('id = "me/c4"\nfield = "body"\n')
    catalog = load_catalog()
    assert catalog.find("c4").id == "me/c4"
    assert catalog.find("allenai/c4").id == "allenai/c4"


def test_the_last_step_of_a_users_id_does_not_take_a_packaged_name(nobodys_catalog):
    (nobodys_catalog / "mine.toml").write_text('id = "me/c4"\n')
    assert load_catalog().find("c4").id == "allenai/c4"


def test_the_users_place_is_below_xdg_config_home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert users_place() == tmp_path / "asyncdl" / "catalog"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert users_place() == tmp_path / "home" / ".config" / "asyncdl" / "catalog"


def test_two_entries_may_not_claim_one_name():
    with pytest.raises(ConfigError, match="one and two both claim the name OLD"):
        Catalog([Entry("one", "a/one", was=("old",)), Entry("two", "a/two", was=("OLD",))])


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('id = "a/b"\nfeild = "text"\n', 2, "unknown key 'feild'; did you mean field"),
        ('id = "a/b"\n\nfield = 3\n', 3, "field must be a string"),
        ('field = "text"\n', 1, "'id' is missing or empty"),
        ('\nid = "b"\n', 2, "id must look like org/name"),
        ('id = "a/b"\nfield = \n', 2, "Invalid value"),
        ('id = "a/b"\nwas = "c"\n', 2, "was must be a list of strings"),
        ('id = "a/b"\nparquet_list = "yes"\n', 2, "parquet_list must be true or false"),
        ('id = "a/b"\n[languages]\nsv = ["x"]\nde = ["x"]\n', 4, "'x' means both sv and de"),
        ('id = "a/b"\n[languages]\nsv = "x"\n', 3, "sv must be a list of strings"),
        ('id = "a/b"\n[[files]]\npath = "x"\n\n[[files]]\npath = "{lng}/x"\n', 6, "{lng} is not one of"),
        ('id = "a/b"\n[[files]]\npath = "x"\n[[files]]\nlang = "sv"\n', 4, "'path' is missing or empty"),
        ('id = "a/b"\n[[files]]\npath = "{lang}/x"\nlang = "sv"\n', 4, "both fixed and a place"),
        ('id = "a/b"\n[[files]]\npath = "../x"\n', 3, "must be relative"),
        ('id = "a/b"\n[[files]]\npath = "x"\nsplits = "y"\n', 4, "unknown key 'splits'; did you mean split"),
        ('id = "a/b"\nfiles = 1\n', 2, "files must be"),
    ],
)
def test_a_bad_entry_is_named_with_file_line_and_reason(nobodys_catalog, text, line, reason):
    bad = nobodys_catalog / "bad.toml"
    bad.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_catalog()
    assert caught.value.message.startswith(f"{bad}:{line}: ")
    assert reason in caught.value.message


def test_an_entry_that_is_not_text_is_named_too(nobodys_catalog):
    (nobodys_catalog / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"bad\.toml"):
        load_catalog()


def test_the_manual_shows_every_entry_and_an_example_that_works(nobodys_catalog):
    manual = (Path(__file__).parents[3] / "docs" / "CATALOG.md").read_text()
    for entry in load_catalog().entries:
        assert f"| `{entry.name}` | {entry.id} | {entry.text_field}" in manual
    (nobodys_catalog / "my-news.toml").write_text(re.search(r"```toml\n(.*?)```", manual, re.DOTALL)[1])
    mine = load_catalog().find("my-news")
    with pytest.raises(UsageError, match="no language swedish"):
        mine.language("swedish")
    assert facets_of("big/swe/train-0.parquet", mine.rules) == {"config": "big", "lang": "swe", "split": "train"}
    assert facets_of("extra/x.parquet", mine.rules) == {"config": "extra", "split": "train"}
