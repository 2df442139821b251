"""What an upload decides before it speaks to anybody."""

import json

import pytest
import yaml

from asyncdl.core import uploads
from asyncdl.core.model import Digest
from asyncdl.core.uploads import Config, Local, batches, card_of, config_of, state_of, summary_of

SHA256, GIT = Digest("sha256", "a" * 64), Digest("git-sha1", "b" * 40)


def local(path, size_bytes=1, digests=(SHA256,)):
    return Local(path, f"/{path}", size_bytes, digests)


@pytest.mark.parametrize(
    ("there", "is_there", "state"),
    [
        (None, False, "new"),
        (SHA256, True, "same"),
        (GIT, True, "same"),
        (Digest("sha256", "c" * 64), True, "differs"),
        (None, True, "differs"),
    ],
)
def test_a_file_is_the_same_only_where_a_digest_says_so(there, is_there, state):
    assert state_of(local("x", digests=(SHA256, GIT)), there, is_there=is_there) == state


def test_a_commit_is_bounded_by_number_and_by_bytes_and_keeps_the_order(monkeypatch):
    monkeypatch.setattr(uploads, "MAX_COMMIT_FILES", 3)
    monkeypatch.setattr(uploads, "MAX_COMMIT_BYTES", 10)
    sizes = [1, 1, 1, 1, 9, 1, 25, 2]
    found = list(batches(local(str(n), size) for n, size in enumerate(sizes)))
    assert [[file.size_bytes for file in batch] for batch in found] == [[1, 1, 1], [1, 9], [1], [25], [2]]
    assert [file.path for batch in found for file in batch] == [str(n) for n in range(8)]
    assert list(batches([])) == []


def test_a_summary_names_the_first_and_the_last():
    assert summary_of([local("a")]) == "Add a"
    assert summary_of([local("a"), local("b"), local("c")]) == "Add 3 files, a to c"


@pytest.mark.parametrize(
    ("name", "config", "split"),
    [
        ("org--set--train", "org--set--train", "train"),
        ("data/test", "data--test", "test"),
        ("swe-validation", "swe-validation", "validation"),
        ("latest", "latest", "train"),
        ("", "default", "train"),
    ],
)
def test_a_config_is_named_after_its_split(name, config, split):
    found = config_of(name, "f", "*.parquet", "")
    assert (found.name, found.split, found.glob) == (config, split, "f/*.parquet")


def test_a_folder_with_the_signs_of_a_glob_is_meant_as_it_is():
    assert config_of("x", "a[1]", "*.parquet", "").glob == "a[[]1]/*.parquet"
    assert config_of("x", "", "*.parquet", "").glob == "*.parquet"


def test_a_card_is_yaml_that_says_configs_and_features():
    features = [{"name": "ids", "list": "int32"}, {"name": "s", "struct": [{"name": 'no: "x"', "dtype": "string"}]}]
    plain = Config("b", "test", "b/*.parquet", "")
    card = card_of("set", [Config("a: b", "train", "a/*.parquet", json.dumps(features)), plain])
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "configs": [
            {"config_name": "a: b", "data_files": [{"split": "train", "path": "a/*.parquet"}]},
            {"config_name": "b", "data_files": [{"split": "test", "path": "b/*.parquet"}]},
        ],
        "dataset_info": [{"config_name": "a: b", "features": features}],
    }
    assert "# set" in body
    assert "dataset_info" not in card_of("set", [plain])
