from dataclasses import replace

import pytest

from asyncdl.core.model import Digest, Job
from asyncdl.core.names import safe_path
from asyncdl.core.stages import is_text_file, next_jobs

SHA = "a" * 64
JOB = Job(
    id=7, kind="download", dataset_id=1, recipe_id=0, path=safe_path("data/0.parquet"), owner="me", attempt=3, failures=2,
    size_bytes=10, digest=Digest("sha256", SHA), had="0-10", validator='"v"', take_over=False, n_mismatches=1,
)  # fmt: skip


def kinds(job):
    return [(child.kind, child.recipe_id) for child in next_jobs(job)]


def test_a_file_of_documents_is_verified_then_tokenized_with_every_recipe():
    assert kinds(JOB) == [("verify", 0)]
    assert kinds(replace(JOB, kind="verify")) == [("tokenize", None)]
    assert kinds(replace(JOB, kind="tokenize", recipe_id=4)) == []


def test_any_other_file_ends_with_its_download():
    assert kinds(replace(JOB, path=safe_path("README.md"))) == []


def test_a_child_carries_what_its_parent_found_out():
    [child] = next_jobs(JOB)
    assert (child.dataset_id, child.path, child.size_bytes, child.digest) == (1, JOB.path, 10, f"sha256:{SHA}")
    [child] = next_jobs(replace(JOB, digest=None, size_bytes=None))
    assert (child.size_bytes, child.digest) == (None, None)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.parquet", True), ("a.PARQUET", True), ("a.parquet.gz", False), ("parquet", False), ("b/a.jsonl.zst", True),
        ("a.json", False), ("c4.json.gz", True), ("a.txt", False),
    ],
)  # fmt: skip
def test_a_file_of_documents_is_known_by_its_ending(path, expected):
    assert is_text_file(path) is expected


def test_what_was_made_of_the_same_content_is_kept_where_the_content_was_hashed_here():
    verify = replace(JOB, kind="verify", digest=None)
    [child] = next_jobs(verify, "sha256:" + SHA)
    assert (child.digest, child.keep) == ("sha256:" + SHA, True)
    [child] = next_jobs(verify)
    assert (child.digest, child.keep) == (None, False)


@pytest.mark.parametrize("digest", [Digest("sha256", SHA), Digest("git-sha1", "b" * 40)])
def test_what_a_digest_wrote_it_reads(digest):
    assert Digest.parse(str(digest)) == digest


@pytest.mark.parametrize(
    "text", ["", "sha256", "md5:abc", "SHA256:abc", ":", "abc:sha256", f"git-sha1:{SHA}", f"sha256:{SHA}0"]
)
def test_what_is_no_digest_is_refused(text):
    with pytest.raises(ValueError, match="not a digest"):
        Digest.parse(text)
