"""What a listing asks of the disk: files that are there already, bytes and inodes that are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncdl.cli.intake import Survey, tells_case_apart
from asyncdl.core.model import Artifact
from asyncdl.core.names import safe_path


@pytest.fixture
def survey(tmp_path):
    return Survey(tmp_path / "data", safe_path("raw/org--name"))


def artifact(path, size=100):
    return Artifact(safe_path(path), size, None)


def put(survey, path, content=b"x" * 100):
    file = survey.data_dir / survey.local_root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def test_new_files_and_their_folders_are_counted_once(survey):
    survey.data_dir.mkdir()
    rows = survey.look([artifact("a/b/1"), artifact("a/b/2"), artifact("top")])
    assert [(subset, missing) for subset, _, missing in rows] == [("a/b", True), ("a/b", True), ("", True)]
    assert (survey.n_new_files, survey.n_new_folders) == (3, 4)  # raw, raw/org--name, a, a/b
    survey.look([artifact("a/b/3")])
    assert survey.n_new_inodes == 8
    assert (survey.n_files, survey.size_bytes, survey.needed_bytes) == (4, 400, 400)


def test_a_file_of_the_right_size_is_had_and_asks_for_nothing(survey):
    put(survey, "a/1")
    ((_, _, missing),) = survey.look([artifact("a/1")])
    assert not missing
    assert (survey.n_have, survey.have_bytes, survey.needed_bytes, survey.n_new_inodes) == (1, 100, 0, 0)


def test_a_file_of_another_size_is_not_had_though_its_inode_is(survey):
    put(survey, "a/1", b"short")
    ((_, _, missing),) = survey.look([artifact("a/1")])
    assert missing
    assert (survey.n_have, survey.needed_bytes, survey.n_new_inodes) == (0, 100, 0)


def test_of_a_file_without_a_known_size_being_there_is_enough(survey):
    put(survey, "a/1", b"anything")
    survey.look([artifact("a/1", None), artifact("a/2", None)])
    assert (survey.n_have, survey.n_unsized, survey.needed_bytes) == (1, 2, 0)


def test_a_folder_in_the_place_of_a_file_is_not_had(survey):
    (survey.data_dir / survey.local_root / "a").mkdir(parents=True)
    survey.look([artifact("a")])
    assert survey.n_have == 0


def test_blocks_of_a_partial_are_not_asked_for_again(survey):
    put(survey, "a/1.partial", b"x" * 65536)
    survey.look([artifact("a/1", 100_000)])
    assert survey.needed_bytes <= 100_000 - 65536
    assert survey.n_new_inodes == 0


def test_files_that_will_not_be_tokenized_are_counted(survey):
    survey.look([artifact("a/1.parquet"), artifact("a/1.jsonl"), artifact("README.md")])
    assert survey.n_not_text == 1


def test_a_folder_is_asked_once_whether_it_tells_case_apart(tmp_path, monkeypatch):
    assert tells_case_apart(tmp_path / "not" / "there" / "yet")
    assert list(tmp_path.iterdir()) == []
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: exists(path) or exists(path.with_name(path.name.swapcase())))
    assert not tells_case_apart(tmp_path)
