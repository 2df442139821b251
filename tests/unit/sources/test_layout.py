"""Paths are read by the first rule they fit; folders to list are as few as the choice allows."""

import pytest

from asyncdl.sources.catalog import load_catalog
from asyncdl.sources.layout import Rule, facets_of, folders_for


def rules(name):
    return load_catalog().find(name).rules


@pytest.mark.parametrize(
    ("name", "path", "facets"),
    [
        ("fineweb-2", "data/swe_Latn/train/000_00000.parquet", {"lang": "swe_Latn", "split": "train"}),
        ("fineweb-2", "data/swe_Latn_removed/train/0.parquet", {"lang": "swe_Latn_removed", "split": "train"}),
        ("fineweb-2", "data/swe_Latn/0.parquet", None),
        ("fineweb-2", "README.md", None),
        ("wikipedia", "20231101.zh-min-nan/train-00000-of-00001.parquet", {"lang": "zh-min-nan", "split": "train"}),
        ("gutenberg", "data/sv-00000-of-00001-0bd7.parquet", {"lang": "sv"}),
        ("redpajama-1t", "urls/arxiv.txt", {"config": "arxiv"}),
        ("redpajama-1t", "arxiv/train/0000.parquet", {"config": "arxiv", "split": "train"}),
    ],
)
def test_a_path_has_the_facets_its_place_says(name, path, facets):
    assert facets_of(path, rules(name)) == facets


@pytest.mark.parametrize(
    ("path", "facets"),
    [
        ("en/c4-train.00000-of-01024.json.gz", ("en", "en", "train")),
        ("en/c4-validation.00007-of-00008.json.gz", ("en", "en", "validation")),
        ("multilingual/c4-sv.tfrecord-00000-of-01024.json.gz", ("multilingual", "sv", "train")),
        ("multilingual/c4-sv-validation.tfrecord-00000-of-00001.json.gz", ("multilingual", "sv", "validation")),
        ("multilingual/c4-bg-Latn.tfrecord-00000-of-00001.json.gz", ("multilingual", "bg-Latn", "train")),
        ("multilingual/c4-en.tfrecord-00000-of-11264.json.gz", ("multilingual", "en-multi", "train")),
        ("multilingual/c4-en-validation.tfrecord-0.json.gz", ("multilingual", "en-multi", "validation")),
        ("realnewslike/c4-train.00000-of-00512.json.gz", ("realnewslike", None, "train")),
    ],
)
def test_c4_keeps_languages_in_file_names_apart(path, facets):
    found = facets_of(path, rules("c4"))
    assert (found["config"], found.get("lang"), found["split"]) == facets


@pytest.mark.parametrize(
    ("name", "chosen", "folders"),
    [
        ("fineweb-2", {"lang": ("swe_Latn",)}, ("data/swe_Latn",)),
        ("fineweb-2", {"lang": ("swe_Latn",), "split": ("test",)}, ("data/swe_Latn/test",)),
        ("fineweb-2", {"lang": ("b", "a"), "split": ("x", "y")}, ("data/a/x", "data/a/y", "data/b/x", "data/b/y")),
        ("fineweb-2", {"split": ("train",)}, ("data",)),
        ("wikipedia", {"lang": ("sv",)}, ("20231101.sv",)),
        ("c4", {"lang": ("sv",)}, ("multilingual",)),
        ("c4", {"lang": ("en",)}, ("en",)),
        ("c4", {"lang": ("en-multi",)}, ("multilingual",)),
        ("c4", {"config": ("en",), "lang": ("sv",)}, ()),
        ("c4", {"config": ("realnewslike",)}, ("realnewslike",)),
        ("gutenberg", {"lang": ("sv",)}, ("data",)),
    ],
)
def test_only_the_folders_that_can_hold_the_choice_are_listed(name, chosen, folders):
    assert folders_for(rules(name), chosen) == folders


def test_a_folder_inside_another_is_not_listed_twice():
    both = [Rule("a/{lang}/*", {}), Rule("a/*/{lang}/*", {})]
    assert folders_for(both, {"lang": ("x",)}) == ("a",)


def test_a_place_that_stands_twice_means_the_same_text():
    twice = [Rule("{lang}/{lang}-*.parquet", {})]
    assert facets_of("sv/sv-1.parquet", twice) == {"lang": "sv"}
    assert facets_of("sv/de-1.parquet", twice) is None


def test_text_of_a_template_is_not_an_expression():
    assert facets_of("axb/1", [Rule("a.b/{split}", {})]) is None
    assert facets_of("a.b/1", [Rule("a.b/{split}", {})]) == {"split": "1"}
