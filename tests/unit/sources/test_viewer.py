"""The viewer's Parquet files are used only when they are the whole dataset at the wanted commit."""

import pytest

from asyncdl.sources.resolve import Selection, resolve
from asyncdl.sources.viewer import viewer_base
from tests.unit.sources.scripted import ENDPOINT, SHA, UNREACHABLE

REPO = "togethercomputer/RedPajama-Data-1T"
PARQUET = "https://datasets-server.hub.test/parquet?dataset=togethercomputer%2FRedPajama-Data-1T"
WHOLE = {"parquet_files": [], "pending": [], "failed": [], "partial": False}
CONVERTED = "c" * 40


@pytest.fixture
def redpajama(hub):
    hub.repo(REPO, ["urls/arxiv.txt", "urls/book.txt"])
    hub.repo(REPO, ["arxiv/train/0000.parquet", "book/train/0000.parquet"], sha=CONVERTED,
             revision="refs/convert/parquet")  # fmt: skip
    hub.json(PARQUET, WHOLE, x_revision=SHA)
    return hub


async def resolved(hub, **selection):
    found = await resolve("redpajama-1t", Selection(**selection), fetcher=hub, endpoint=ENDPOINT)
    return found, [artifact.path async for artifact in found.artifacts]


async def test_a_whole_conversion_of_the_commit_is_used_at_a_commit_of_its_own(redpajama):
    found, paths = await resolved(redpajama, configs=("arxiv",))
    assert paths == ["arxiv/train/0000.parquet"]
    assert found.revision == CONVERTED
    assert f"/resolve/{CONVERTED}" in found.origin
    assert SHA in found.notes[-1]


@pytest.mark.parametrize(
    ("answer", "revision", "why"),
    [
        (WHOLE | {"partial": True}, SHA, "partial"),
        ({key: WHOLE[key] for key in ("pending", "failed")}, SHA, "partial"),
        (WHOLE | {"pending": [{"config": "book"}]}, SHA, "1 of its parts are pending"),
        (WHOLE | {"failed": [{"config": "book"}]}, SHA, "1 of its parts are failed"),
        (WHOLE, "d" * 40, "another commit"),
        ([], SHA, "something else"),
    ],
)
async def test_anything_less_is_told_and_the_repos_own_files_are_taken(redpajama, answer, revision, why):
    redpajama.json(PARQUET, answer, x_revision=revision)
    found, paths = await resolved(redpajama, configs=("arxiv",))
    assert paths == ["urls/arxiv.txt"]
    assert found.revision == SHA
    assert why in found.notes[-1]


async def test_a_viewer_that_fails_is_told_too(redpajama):
    redpajama.refuse(PARQUET, 404, "RenamedDatasetError")
    assert "404 (RenamedDatasetError)" in (await resolved(redpajama))[0].notes[-1]
    redpajama.answers[PARQUET] = UNREACHABLE
    assert "gave no answer" in (await resolved(redpajama))[0].notes[-1]


async def test_only_datasets_whose_entry_says_so_ask_the_viewer(hub):
    hub.repo("HuggingFaceFW/fineweb-2", ["x"])
    await resolve("fineweb-2", Selection(), fetcher=hub, endpoint=ENDPOINT)
    assert not [url for url in hub.asked if "parquet" in url]


@pytest.mark.parametrize(
    ("endpoint", "base"),
    [
        ("https://huggingface.co", "https://datasets-server.huggingface.co"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://localhost:8080", "http://localhost:8080"),
    ],
)
def test_where_the_viewer_of_a_hub_is(endpoint, base, monkeypatch):
    assert viewer_base(endpoint) == base
    monkeypatch.setenv("ASYNCDL_DATASETS_SERVER", "http://viewer.test/")
    assert viewer_base(endpoint) == "http://viewer.test"
