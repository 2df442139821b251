"""The sources against the demo hub: real requests, pages, redirects, tokens."""

import hashlib

import pytest
import pytest_asyncio

from asyncdl.core.model import Digest
from asyncdl.core.names import quote_path
from asyncdl.core.secret import Secret
from asyncdl.demo.hub import DemoHub
from asyncdl.demo.repos import Repo, Viewer, demo_repos
from asyncdl.errors import ConfigError, RemoteError, UsageError
from asyncdl.net.fetch import make_fetcher
from asyncdl.sources.resolve import Selection, resolve
from asyncdl.sources.tokenizer import fetch_tokenizer_files

TOKEN = "hf_abcdefghijklmnop"
MANY = {f"data/{folder}/{number:04d}.parquet": b"x" for folder in ("sv", "de") for number in range(25)}


def repos():
    return [
        *demo_repos(),
        Repo("org/many", {"README.md": b"# many", **MANY}),
        Repo("org/secret", {"x.parquet": b"x"}, private=True),
        Repo("org/old", {}, renamed_to="org/many"),
        Repo("org/closed", {"x.parquet": b"x"}, disabled=True),
        Repo(
            "togethercomputer/RedPajama-Data-1T",
            {"urls/arxiv.txt": b"u", "default/train/a.parquet": b"p"},
            viewer=Viewer(partial=True),
        ),
    ]


@pytest_asyncio.fixture
async def hub(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("ASYNCDL_DATASETS_SERVER", raising=False)
    async with DemoHub(repos(), token=TOKEN, page_size=10) as running:
        yield running


async def listed(hub, target, *, token=None, **selection):
    async with make_fetcher(hub.endpoint, token and Secret(token), allow_private=True) as fetcher:
        found = await resolve(target, Selection(**selection), fetcher=fetcher, endpoint=hub.endpoint)
        return found, [artifact async for artifact in found.artifacts]


async def refused(hub, target, kind, *, token=None, **selection):
    with pytest.raises(kind) as caught:
        await listed(hub, target, token=token, **selection)
    assert TOKEN not in f"{caught.value.message} {caught.value.hint}"
    return caught.value


async def test_swedish_of_fineweb_2_is_swedish_and_nothing_else(hub):
    found, artifacts = await listed(hub, "fineweb-2", langs=("swe_Latn",))
    repo = hub.repo("HuggingFaceFW/fineweb-2")
    expected = [path for path in repo.main.paths if path.startswith("data/swe_Latn/")]
    assert [artifact.path for artifact in artifacts] == expected
    assert any(path.startswith("data/swe_Latn_removed/") for path in repo.main.paths)
    assert found.revision == repo.main.sha
    for artifact in artifacts:
        content = repo.main.content(artifact.path)
        assert artifact.size_bytes == content.size_bytes
        assert artifact.digest == Digest("sha256", content.sha256)


async def test_the_whole_repo_is_listed_over_all_pages_and_small_files_have_git_digests(hub):
    _, artifacts = await listed(hub, "org/many")
    assert [artifact.path for artifact in artifacts] == sorted(["README.md", *MANY])
    blob = b"blob 6\0# many"
    assert artifacts[0].digest == Digest("git-sha1", hashlib.sha1(blob).hexdigest())
    assert len([request for request in hub.requests if "/tree/" in request.path]) == 6


async def test_a_limit_saves_the_pages_that_nobody_wants(hub):
    _, artifacts = await listed(hub, "org/many", langs=("sv",), max_files=10)
    assert [artifact.path for artifact in artifacts] == sorted(path for path in MANY if "/sv/" in path)[:10]
    recursive = [request for request in hub.requests if "recursive=True" in request.url]
    assert len(recursive) == 1


async def test_main_may_move_while_a_listing_runs(hub):
    async with make_fetcher(hub.endpoint, None, allow_private=True) as fetcher:
        found = await resolve("org/many", Selection(), fetcher=fetcher, endpoint=hub.endpoint)
        first = await anext(found.artifacts)
        hub.push("org/many", {"other": b"x"})
        rest = [artifact.path async for artifact in found.artifacts]
    assert [first.path, *rest] == sorted(["README.md", *MANY])


async def test_the_origin_leads_to_the_bytes(hub):
    async with make_fetcher(hub.endpoint, None, allow_private=True) as fetcher:
        found = await resolve(
            "fineweb-2", Selection(langs=("swe_Latn",), max_files=1), fetcher=fetcher, endpoint=hub.endpoint
        )
        (artifact,) = [artifact async for artifact in found.artifacts]
        answer = await fetcher.get(f"{found.origin}/{quote_path(artifact.path)}")
    assert hashlib.sha256(answer.body).hexdigest() == artifact.digest.hex


async def test_an_unknown_language_is_refused_with_its_neighbours(hub):
    error = await refused(hub, "fineweb-2", UsageError, langs=("swe_Lat",))
    assert "swe_Latn" in error.hint
    error = await refused(hub, "org/many", UsageError, langs=("s",))
    assert error.hint == "did you mean sv?"


async def test_a_renamed_repo_is_followed_and_told(hub):
    found, artifacts = await listed(hub, "org/old", max_files=1)
    assert found.name == "org/many"
    assert "renamed" in found.notes[0]
    assert len(artifacts) == 1


async def test_a_partial_conversion_is_told_and_not_used(hub):
    found, artifacts = await listed(hub, "redpajama-1t")
    assert "partial" in found.notes[-1]
    assert [artifact.path for artifact in artifacts] == ["default/train/a.parquet", "urls/arxiv.txt"]


async def test_a_whole_conversion_is_used_with_its_digests(hub):
    repo = hub.repo("togethercomputer/RedPajama-Data-1T")
    repo.viewer = Viewer()
    found, artifacts = await listed(hub, "redpajama-1t", configs=("default",))
    assert [artifact.path for artifact in artifacts] == ["default/train/0000.parquet"]
    assert artifacts[0].digest == Digest("sha256", hashlib.sha256(b"p").hexdigest())
    assert found.revision == repo.converted.sha != repo.main.sha


async def test_each_refusal_is_another_error(hub):
    errors = [
        await refused(hub, "org/missing", UsageError),
        await refused(hub, "org/missing", UsageError, token=TOKEN),
        await refused(hub, "org/secret", UsageError),
        await refused(hub, "org/many", ConfigError, token="hf_wrongwrongwrong"),
        await refused(hub, "org/closed", RemoteError),
        await refused(hub, "org/many", UsageError, revision="v9"),
    ]
    assert [error.exit_code for error in errors] == [2, 2, 2, 3, 5, 2]
    assert len({(error.message.replace("secret", "missing"), error.hint) for error in errors}) == 5
    assert len((await listed(hub, "org/secret", token=TOKEN))[1]) == 1


async def test_a_tokenizer_arrives_as_the_repo_has_it(hub, tmp_path):
    async with make_fetcher(hub.endpoint, None, allow_private=True) as fetcher:
        place = await fetch_tokenizer_files(
            "demo/tokenizer", fetcher=fetcher, endpoint=hub.endpoint, folder=tmp_path / "tokenizers"
        )
    revision = hub.repo("demo/tokenizer", kind="model").main
    assert place.name == revision.sha
    for path in place.iterdir():
        assert path.read_bytes() == revision.content(path.name).read()
    assert (place / "tokenizer.json").exists()
