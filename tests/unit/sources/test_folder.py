"""Which files of a folder are documents: each once, in order, and nothing that is ours."""

import pytest

from asyncdl.errors import ConfigError, UnsafeNameError
from asyncdl.sources.folder import Walk, one_file


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jsonl", "a.parquet", "sub/c.ndjson.zst", "sub/deep/d.jsonl.gz", "notes.txt", "sub/e.json"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "data"


def paths(walk):
    return [found.path for found in walk]


def test_the_folder_alone_and_what_is_left_out_is_counted(folder):
    walk = Walk(folder, recursive=False)
    assert paths(walk) == ["a.parquet", "b.jsonl"]
    assert (walk.n_ignored, walk.n_folders) == (1, 1)


def test_all_below_it_with_their_subsets_and_sizes(folder):
    walk = Walk(folder, recursive=True)
    found = list(walk)
    assert [(one.subset, one.path) for one in found] == [
        ("", "a.parquet"), ("", "b.jsonl"), ("sub", "sub/c.ndjson.zst"), ("sub/deep", "sub/deep/d.jsonl.gz"),
    ]  # fmt: skip
    assert [one.size_bytes for one in found] == [len(one.path) for one in found]
    assert (walk.n_ignored, walk.n_folders) == (2, 0)


def test_links_are_followed_and_no_file_comes_twice(folder):
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "again").symlink_to(folder / "sub")
    (folder / "self").symlink_to(folder / "self")
    (folder / "gone.jsonl").symlink_to(folder / "nowhere")
    (folder / "link.jsonl").symlink_to(folder / "b.jsonl")
    assert paths(Walk(folder, recursive=True)) == [
        "a.parquet", "b.jsonl", "link.jsonl", "again/c.ndjson.zst", "again/deep/d.jsonl.gz",
    ]  # fmt: skip


def test_folders_to_stay_out_of_are_not_looked_into(folder, tmp_path):
    walk = Walk(folder, recursive=True, but=[folder / "sub" / "deep", tmp_path / "not there"])
    assert paths(walk) == ["a.parquet", "b.jsonl", "sub/c.ndjson.zst"]


def test_a_folder_that_is_none_and_a_name_that_is_no_name_are_told(folder):
    with pytest.raises(ConfigError, match="cannot be read"):
        list(Walk(folder / "b.jsonl", recursive=True))
    (folder / "a\nb.jsonl").write_bytes(b"")
    with pytest.raises(UnsafeNameError) as caught:
        list(Walk(folder, recursive=True))
    assert "rename" in caught.value.hint


def test_one_file_is_called_by_its_name(folder):
    found = one_file(folder / "b.jsonl")
    assert (found.path, found.subset, found.size_bytes) == ("b.jsonl", "", 7)
