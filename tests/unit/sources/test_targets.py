"""What a TARGET means is decided without asking anybody."""

import pytest

from asyncdl.errors import UsageError
from asyncdl.sources.catalog import load_catalog
from asyncdl.sources.targets import BucketTarget, HubTarget, UrlTarget, parse_target
from tests.unit.sources.scripted import ENDPOINT


def parsed(target):
    return parse_target(target, load_catalog(), ENDPOINT)


@pytest.mark.parametrize(
    ("target", "repo", "revision", "under"),
    [
        ("fineweb-2", "HuggingFaceFW/fineweb-2", None, ()),
        ("Org/some.name_x-1", "Org/some.name_x-1", None, ()),
        ("hf://datasets/a/b", "a/b", None, ()),
        ("hf://datasets/a/b@v1", "a/b", "v1", ()),
        ("hf://datasets/a/b@v1/x/*.parquet", "a/b", "v1", ("x/*.parquet", "x/*.parquet/*")),
        ("hf://datasets/a/b/x/y@2.parquet", "a/b", None, ("x/y@2.parquet", "x/y@2.parquet/*")),
        ("hf://datasets/a/b@refs%2Fpr%2F7/x", "a/b", "refs/pr/7", ("x", "x/*")),
        ("hf://datasets/a/b@refs/convert/parquet", "a/b", "refs/convert/parquet", ()),
        ("hf://datasets/a/b@refs/convert/parquet/sv/", "a/b", "refs/convert/parquet", ("sv", "sv/*")),
        ("https://huggingface.co/datasets/a/b", "a/b", None, ()),
        ("https://huggingface.co/datasets/a/b/viewer/sv/train", "a/b", None, ()),
        ("https://huggingface.co/datasets/a/b/tree/main", "a/b", "main", ()),
        ("https://huggingface.co/datasets/a/b/tree/main/data/sv", "a/b", "main", ("data/sv/*",)),
        ("https://hf.co/datasets/a/b/tree/v1/x[1]", "a/b", "v1", ("x[[]1]/*",)),
        ("https://hf.co/datasets/a/b/blob/v1/x[1].parquet", "a/b", "v1", ("x[[]1].parquet",)),
        ("https://hub.test/datasets/a/b/resolve/refs%2Fpr%2F1/x%20y?download=true", "a/b", "refs/pr/1", ("x y",)),
    ],
)
def test_names_of_the_hub_in_all_their_spellings(target, repo, revision, under):
    found = parsed(target)
    assert isinstance(found, HubTarget)
    assert (found.repo, found.revision, found.under) == (repo, revision, under)


@pytest.mark.parametrize(
    "url",
    ["https://example.org/datasets/a/b", "http://127.0.0.1:1/x.parquet", "https://huggingface.co/a/b/resolve/main/x"],
)
def test_other_urls_stay_urls(url):
    assert parsed(url) == UrlTarget(url)


def test_the_catalogue_knows_a_repo_in_every_spelling():
    for target in (
        "fineweb-2",
        "hf://datasets/huggingfacefw/FINEWEB-2@main",
        "https://hf.co/datasets/HuggingFaceFW/fineweb-2",
    ):
        assert parsed(target).entry.name == "fineweb-2"


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("finweb-2", "fineweb-2"),
        ("fineweb", "fineweb-2"),
        ("qqqq", "org/name"),
        ("hf://datasets/fineweb-2", "HuggingFaceFW/fineweb-2"),
        ("hf://a/b", "hf://datasets/"),
        ("ftp://x/y", "https"),
        ("a/b/c", ""),
        ("../../etc", ""),
        ("", ""),
        ("https://huggingface.co/datasets/a/b/settings", "a/b"),
    ],
)
def test_what_means_nothing_is_refused_with_the_nearest_names(target, hint):
    with pytest.raises(UsageError) as caught:
        parsed(target)
    assert hint in (caught.value.hint or "")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("target", "means"),
    [
        ("s3://bucket", BucketTarget("s3", "bucket", "")),
        ("R2://bucket/", BucketTarget("r2", "bucket", "")),
        ("s3://my.bucket/a b%20+/é*", BucketTarget("s3", "my.bucket", "a b%20+/é*")),
        ("s3://bucket//a", BucketTarget("s3", "bucket", "/a")),
        ("r2://bucket/a?b#c", BucketTarget("r2", "bucket", "a?b#c")),
    ],
)
def test_a_bucket_and_a_key_are_taken_as_they_stand(target, means):
    assert parsed(target) == means


@pytest.mark.parametrize("bucket", ["", "/a", "a", "a..b", "-ab", "a b", "bücket", "AKIA:canary@bucket", "*", "b*ket"])
def test_what_is_no_bucket_is_refused_and_not_shown(bucket):
    with pytest.raises(UsageError, match="no bucket") as caught:
        parsed(f"s3://{bucket}")
    assert "canary" not in f"{caught.value.message} {caught.value.hint}"


def test_a_hostile_target_cannot_steer_the_terminal():
    with pytest.raises(UsageError) as caught:
        parsed("x\x1b[2Jy")
    assert "\x1b" not in caught.value.message
