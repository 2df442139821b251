"""A name becomes a pinned commit and exactly the chosen files, streamed page by page."""

import hashlib

import pytest

from asyncdl.core.model import Digest
from asyncdl.errors import RemoteError, UnsafeNameError, UsageError
from asyncdl.sources.resolve import Selection, resolve
from tests.unit.sources.scripted import ENDPOINT, SHA, UNREACHABLE, file, tree

FINEWEB = "HuggingFaceFW/fineweb-2"
FILES = [
    "README.md",
    "data/dan_Latn/train/000_00000.parquet",
    "data/swe_Latn/test/000_00000.parquet",
    "data/swe_Latn/train/000_00000.parquet",
    "data/swe_Latn/train/000_00001.parquet",
    "data/swe_Latn_removed/train/000_00000.parquet",
]
OTHER = [
    ".gitattributes",
    "data/sv/test-00000-of-00001.parquet",
    "data/sv/train-00000-of-00001.parquet",
    "data/sv/train_extra-00000-of-00001.parquet",
    "de/train/0.parquet",
    "small/sv/train/0.parquet",
]


async def paths(hub, target, **selection):
    found = await resolve(target, Selection(**selection), fetcher=hub, endpoint=ENDPOINT)
    return [artifact.path async for artifact in found.artifacts]


async def refused(hub, target, **selection):
    with pytest.raises(UsageError) as caught:
        await paths(hub, target, **selection)
    return caught.value


async def test_a_name_is_pinned_before_it_is_listed(hub):
    hub.repo(FINEWEB, FILES)
    found = await resolve("fineweb-2", Selection(langs=("swe_Latn",)), fetcher=hub, endpoint=ENDPOINT)
    first = await anext(found.artifacts)
    await found.artifacts.aclose()
    assert (found.name, found.revision, found.source, found.text_field) == (FINEWEB, SHA, "hub", "text")
    assert found.local_root == "raw/HuggingFaceFW--fineweb-2"
    assert found.origin == f"{ENDPOINT}/datasets/{FINEWEB}/resolve/{SHA}"
    assert (first.path, first.size_bytes) == (FILES[2], 10)
    assert first.digest == Digest("sha256", hashlib.sha256(FILES[2].encode()).hexdigest())
    assert hub.asked[1:] == [tree(f"{ENDPOINT}/api/datasets/{FINEWEB}", SHA, "data/swe_Latn", True)]


async def test_small_files_carry_the_name_that_git_gives_them(hub):
    hub.repo("a/b", ["README.md"])
    found = await resolve("a/b", Selection(), fetcher=hub, endpoint=ENDPOINT)
    (artifact,) = [artifact async for artifact in found.artifacts]
    assert artifact.digest == Digest("git-sha1", hashlib.sha1(b"README.md").hexdigest())


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        ({}, FILES),
        ({"langs": ("swe_Latn",)}, FILES[2:5]),
        ({"langs": ("swe_Latn", "dan_Latn")}, FILES[1:5]),
        ({"langs": ("swe_Latn_removed",)}, FILES[5:]),
        ({"configs": ("swe_Latn",)}, FILES[2:5]),
        ({"splits": ("test",)}, FILES[2:3]),
        ({"langs": ("swe_Latn",), "splits": ("train",)}, FILES[3:5]),
        ({"langs": ("swe_Latn",), "exclude": ("*_00001.parquet",)}, FILES[2:4]),
        ({"langs": ("swe_Latn",), "max_files": 2}, FILES[2:4]),
        ({"langs": ("swe_Latn",), "max_bytes": 29}, FILES[2:4]),
        ({"langs": ("swe_Latn",), "max_bytes": 30}, FILES[2:5]),
        ({"include": ("*.md",)}, FILES[:1]),
        ({"include": ("data/swe_Latn/*",)}, FILES[2:5]),
    ],
)
async def test_exactly_what_was_chosen_of_a_known_layout(hub, selection, chosen):
    hub.repo(FINEWEB, FILES)
    assert await paths(hub, "fineweb-2", **selection) == chosen


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        ({}, OTHER),
        ({"langs": ("sv",)}, OTHER[1:4]),
        ({"langs": ("de",)}, OTHER[4:5]),
        ({"langs": ("de", "sv")}, OTHER[1:5]),
        ({"configs": ("small",), "langs": ("sv",)}, OTHER[5:]),
        ({"langs": ("sv",), "splits": ("train",)}, OTHER[2:3]),
        ({"splits": ("train",)}, [OTHER[2], OTHER[4], OTHER[5]]),
        ({"splits": ("train", "test")}, [OTHER[1], OTHER[2], OTHER[4], OTHER[5]]),
    ],
)
async def test_elsewhere_languages_configs_and_splits_are_folders_or_beginnings_of_names(hub, selection, chosen):
    hub.repo("some/where", OTHER)
    assert await paths(hub, "some/where", **selection) == chosen


@pytest.mark.parametrize(
    ("target", "chosen"),
    [
        ("hf://datasets/some/where/data/sv", OTHER[1:4]),
        ("hf://datasets/some/where/data/sv/test-*", OTHER[1:2]),
        ("hf://datasets/some/where/de/train/0.parquet", OTHER[4:5]),
        (f"{ENDPOINT}/datasets/some/where/tree/main/data", OTHER[1:4]),
        (f"{ENDPOINT}/datasets/some/where/blob/main/de/train/0.parquet", OTHER[4:5]),
    ],
)
async def test_a_target_may_name_a_part_of_a_repo(hub, target, chosen):
    hub.repo("some/where", OTHER)
    assert await paths(hub, target) == chosen
    assert len([url for url in hub.asked if "/tree/" in url]) == 1
    assert not hub.asked[1].endswith(f"/tree/{SHA}?recursive=True"), "the whole repo was listed"


@pytest.mark.parametrize(
    ("target", "selection", "message", "hint"),
    [
        ("fineweb-2", {"langs": ("swe",)}, "no language swe", "swe_Latn"),
        ("fineweb-2", {"langs": ("swe_Lat",)}, "no language swe_Lat", "swe_Latn"),
        ("fineweb-2", {"langs": ("dan_Latn", "sew_Latn")}, "no language sew_Latn", "swe_Latn"),
        ("fineweb-2", {"langs": ("swe_Latn",), "splits": ("tset",)}, "no split tset", "test"),
        ("fineweb-2", {"splits": ("validation",)}, "no split validation", "there are test, train"),
        ("fineweb-2", {"langs": ("dan_Latn", "swe_Latn"), "splits": ("test",)}, "of language dan_Latn,", None),
        ("some/where", {"langs": ("s",)}, "no language s:", "small or sv"),
        ("some/where", {"configs": ("smal",)}, "no config smal", "small"),
        ("some/where", {"langs": ("de",), "splits": ("trian",)}, "no split trian", "train"),
        ("some/where", {"include": ("*.parqet",)}, "no file of some/where", "--include"),
        ("some/where", {"include": ("datta/*",)}, "no file of some/where", "data"),
        ("some/where", {"max_bytes": 9}, "alone has 10 bytes", "--max-bytes"),
        ("hf://datasets/some/where@v1", {"revision": "v2"}, "--revision another", None),
    ],
)
async def test_what_matches_nothing_is_an_error_with_a_suggestion(hub, target, selection, message, hint):
    hub.repo(FINEWEB, FILES)
    hub.repo("some/where", OTHER)
    error = await refused(hub, target, **selection)
    assert message in error.message
    assert (hint or "") in (error.hint or "")


async def test_a_config_that_only_the_card_knows_is_explained(hub):
    hub.repo("some/where", OTHER)
    splits = {"splits": [{"dataset": "some/where", "config": "tiny", "split": "train"}]}
    hub.json("https://datasets-server.hub.test/splits?dataset=some%2Fwhere", splits)
    assert "choose its files with --include" in (await refused(hub, "some/where", configs=("tiny",))).hint
    assert "did you mean tiny?" in (await refused(hub, "some/where", configs=("tinny",))).hint


async def test_pages_are_asked_for_only_as_far_as_files_are_wanted(hub):
    hub.repo("a/b", [])
    api = f"{ENDPOINT}/api/datasets/a/b"
    first, second = tree(api, SHA, "", True), f"{api}/tree/{SHA}?cursor=2"
    hub.json(first, [file("1"), file("2")], link=f'<{second}>; rel="next"')
    hub.json(second, [file("3"), {"type": "directory", "path": "x"}])
    assert await paths(hub, "a/b", max_files=2) == ["1", "2"]
    assert second not in hub.asked
    assert await paths(hub, "a/b") == ["1", "2", "3"]
    assert hub.asked[-1] == second


async def test_a_mirror_is_asked_for_the_next_page_though_the_link_names_the_hub(hub):
    hub.repo("a/b", [])
    api = f"{ENDPOINT}/api/datasets/a/b"
    link = f'<https://elsewhere.test/api/datasets/a/b/tree/{SHA}?cursor=2>; rel="next"'
    hub.json(tree(api, SHA, "", True), [file("1")], link=link)
    hub.json(f"{api}/tree/{SHA}?cursor=2", [file("2")])
    assert await paths(hub, "a/b") == ["1", "2"]


async def test_a_listing_that_names_itself_as_next_ends(hub):
    hub.repo("a/b", [])
    url = tree(f"{ENDPOINT}/api/datasets/a/b", SHA, "", True)
    hub.json(url, [file("1")], link=f'<{url}>; rel="next"')
    with pytest.raises(RemoteError, match="circles"):
        await paths(hub, "a/b")


async def test_a_listing_that_breaks_off_is_an_error_and_not_a_short_dataset(hub):
    hub.repo("a/b", [])
    url = tree(f"{ENDPOINT}/api/datasets/a/b", SHA, "", True)
    hub.json(url, [file("1")], link=f'<{url}&cursor=2>; rel="next"')
    hub.answers[f"{url}&cursor=2"] = UNREACHABLE
    with pytest.raises(RemoteError, match=r"hub\.test"):
        await paths(hub, "a/b")
    hub.refuse(f"{url}&cursor=2", 404)
    with pytest.raises(UsageError):
        await paths(hub, "a/b")


async def test_only_a_wanted_name_must_be_safe(hub):
    hub.repo("a/b", [])
    url = tree(f"{ENDPOINT}/api/datasets/a/b", SHA, "", True)
    hub.json(url, [file("../../etc/passwd"), file("ok")])
    with pytest.raises(UnsafeNameError):
        await paths(hub, "a/b")
    assert await paths(hub, "a/b", exclude=("*passwd",)) == ["ok"]


@pytest.mark.parametrize("name", ["e\u0301.parquet", "x.partial", "a\\b"])
async def test_names_that_could_not_be_asked_for_or_stored_are_refused(hub, name):
    hub.repo("a/b", [name])
    with pytest.raises(UnsafeNameError):
        await paths(hub, "a/b")


async def test_a_revision_is_one_step_of_the_url(hub):
    hub.repo("a/b", ["x"], revision="refs/pr/1")
    assert await paths(hub, "a/b", revision="refs/pr/1") == ["x"]
    assert "/revision/refs%2Fpr%2F1?" in hub.asked[0]


async def test_a_renamed_repo_is_followed_and_told(hub):
    hub.repo("new/name", ["x"], asked="old/name")
    found = await resolve("old/name", Selection(), fetcher=hub, endpoint=ENDPOINT)
    assert found.name == "new/name"
    assert found.local_root == "raw/new--name"
    assert found.notes == ("old/name has been renamed to new/name",)


async def test_a_repo_cannot_be_renamed_to_something_that_is_no_name(hub):
    hub.repo("a/b", ["x"], id="../../etc")
    found = await resolve("a/b", Selection(), fetcher=hub, endpoint=ENDPOINT)
    assert found.origin == f"{ENDPOINT}/datasets/a/b/resolve/{SHA}"


async def test_an_id_of_former_times_is_told(hub):
    hub.repo("wikimedia/wikipedia", ["20231101.sv/train-0.parquet", "20231101.de/train-0.parquet"])
    for name in ("wikipedia", "legacy-datasets/wikipedia"):
        found = await resolve(name, Selection(langs=("sv",)), fetcher=hub, endpoint=ENDPOINT)
        assert [artifact.path async for artifact in found.artifacts] == ["20231101.sv/train-0.parquet"]
        assert "wikimedia/wikipedia" in found.notes[0]
    present = await resolve("wikimedia/wikipedia", Selection(), fetcher=hub, endpoint=ENDPOINT)
    assert present.notes == ()
    assert await paths(hub, "wikipedia", configs=("20231101.de",)) == ["20231101.de/train-0.parquet"]
    error = await refused(hub, "wikipedia", configs=("20220301.sv",))
    assert "20231101.sv" in error.hint


async def test_c4_english_is_the_english_folder(hub):
    hub.repo(
        "allenai/c4",
        [
            "en/c4-train.0.json.gz",
            "multilingual/c4-en.tfrecord-0.json.gz",
            "multilingual/c4-sv-validation.tfrecord-0.json.gz",
            "multilingual/c4-sv.tfrecord-0.json.gz",
        ],
    )
    assert await paths(hub, "c4", langs=("en",)) == ["en/c4-train.0.json.gz"]
    assert await paths(hub, "c4", langs=("sv",), splits=("train",)) == ["multilingual/c4-sv.tfrecord-0.json.gz"]
    assert await paths(hub, "c4", langs=("en-multi",)) == ["multilingual/c4-en.tfrecord-0.json.gz"]
    assert (await refused(hub, "c4", langs=("sw",))).hint == "there are en-multi, sv"
    assert "nothing with" in (await refused(hub, "c4", langs=("sv",), configs=("en",))).message
