"""The demo hub keeps the Hub's rules: the stock client is the judge, raw HTTP looks where it does not."""

import asyncio
import gzip
import hashlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pyarrow.parquet as pq
import pytest
from yarl import URL

from asyncdl.demo import corpus_dir
from asyncdl.demo.faults import Fault, faults_from_json, faults_to_json
from asyncdl.demo.hub import DemoHub
from asyncdl.demo.repos import GeneratedFile, Repo, Viewer, demo_repos

FINEWEB = "HuggingFaceFW/fineweb-2"
BIG = GeneratedFile(3_000_000, seed=7)
README = b"# A card\n" + b"text that compresses well\n" * 50
FILES = {
    "README.md": README,
    "empty.txt": b"",
    "data/swe_Latn/train/000_00000.parquet": BIG,
    "data/swe_Latn/train/000_00001.parquet": GeneratedFile(5000, seed=8),
    "data/swe_Latn_removed/train/000_00000.parquet": GeneratedFile(4000, seed=9),
}
SWE = "data/swe_Latn/train/000_00000.parquet"
REPO = "org/name"


def small_repo(**options):
    return Repo(REPO, FILES, **options)


@asynccontextmanager
async def session():
    async with aiohttp.ClientSession(headers={"Accept-Encoding": "identity"}) as opened:
        yield opened


async def signed_url(hub, http, path=SWE, repo=REPO):
    url = f"{hub.endpoint}/datasets/{repo}/resolve/main/{path}"
    async with http.get(url, allow_redirects=False) as reply:
        assert reply.status == 302, await reply.text()
        return URL(reply.headers["Location"], encoded=True)


async def get(http, url, **headers):
    """(status, headers, body) of one GET, redirects not followed. `x_y` stands for the header X-Y."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with http.get(url, headers=named, allow_redirects=False) as reply:
        return reply.status, reply.headers, await reply.read()


async def from_cdn(faults, **headers):
    """One GET of the big file from the CDN of a hub with those faults."""
    async with DemoHub([small_repo()], faults=faults) as hub, session() as http:
        return await get(http, await signed_url(hub, http), **headers)


def bytes_of(content, start=0, end=None):
    return content.read(start, end)


# The stock client


@pytest.fixture
def judge():
    """HfApi of an endpoint; its progress bars would write to stderr."""
    import huggingface_hub
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    return lambda hub, token=False: huggingface_hub.HfApi(endpoint=hub.endpoint, token=token)


async def test_the_stock_client_lists_every_file_of_the_corpus_over_many_pages(judge):
    async with DemoHub(page_size=50) as hub:
        listed = await asyncio.to_thread(
            lambda: list(judge(hub).list_repo_tree(FINEWEB, repo_type="dataset", recursive=True))
        )
    files = {entry.path: entry for entry in listed if hasattr(entry, "blob_id")}
    on_disk = {f"data/{path.relative_to(corpus_dir() / 'data')}": path for path in corpus_dir().rglob("*.parquet")}
    assert set(files) == {*on_disk, "README.md"}
    assert len(listed) > 300, "folders are listed too"
    for name, path in on_disk.items():
        assert files[name].size == path.stat().st_size
        assert files[name].lfs.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    card = (corpus_dir() / "README.md").read_bytes()
    assert files["README.md"].lfs is None
    assert files["README.md"].blob_id == hashlib.sha1(b"blob %d\0" % len(card) + card).hexdigest()


async def test_a_folder_that_begins_with_the_same_letters_is_another_folder(judge):
    async with DemoHub([small_repo()]) as hub:
        listed = await asyncio.to_thread(
            lambda: list(judge(hub).list_repo_tree(REPO, "data/swe_Latn", repo_type="dataset", recursive=True))
        )
    assert [entry.path for entry in listed] == [
        "data/swe_Latn/train",
        "data/swe_Latn/train/000_00000.parquet",
        "data/swe_Latn/train/000_00001.parquet",
    ]


async def test_a_folder_is_found_behind_one_that_sorts_before_it():
    files = {"a-b/x.txt": b"x", "a/x.txt": b"x"}
    async with DemoHub([Repo(REPO, files)]) as hub, session() as http:
        _, _, body = await get(http, f"{hub.endpoint}/api/datasets/{REPO}/tree/main/a")
    assert [entry["path"] for entry in json.loads(body)] == ["a/x.txt"]


async def test_a_listing_that_is_not_recursive_shows_one_level(judge):
    async with DemoHub([small_repo()]) as hub:
        listed = await asyncio.to_thread(
            lambda: list(judge(hub).list_repo_tree(REPO, repo_type="dataset", expand=True))
        )
    assert [entry.path for entry in listed] == ["README.md", "data", "empty.txt"]
    assert {entry.last_commit.oid for entry in listed} == {hub.repo(REPO).main.sha}


async def test_info_names_the_commit_and_the_files(judge):
    async with DemoHub([small_repo()]) as hub:
        info = await asyncio.to_thread(lambda: judge(hub).dataset_info(REPO, files_metadata=True))
    assert info.sha == hub.repo(REPO).main.sha
    assert {file.rfilename: file.size for file in info.siblings} == {
        path: getattr(source, "size_bytes", None) or len(source) if isinstance(source, bytes) else source.size_bytes
        for path, source in FILES.items()
    }
    assert {file.rfilename: file.lfs.sha256 for file in info.siblings if file.lfs}[SWE] == BIG.sha256


async def test_paths_info_takes_a_thousand_paths():
    async with DemoHub([small_repo()]) as hub, session() as http:
        for n_paths, status in ((1000, 200), (1001, 413)):
            asked = {"paths": ["README.md"] * n_paths, "expand": False}
            async with http.post(f"{hub.endpoint}/api/datasets/{REPO}/paths-info/main", json=asked) as reply:
                assert reply.status == status


async def test_paths_info_leaves_out_what_does_not_exist(judge):
    async with DemoHub([small_repo()]) as hub:
        found = await asyncio.to_thread(
            lambda: judge(hub).get_paths_info(REPO, ["README.md", "nope", "data/swe_Latn"], repo_type="dataset")
        )
    assert [entry.path for entry in found] == ["README.md", "data/swe_Latn"]


async def test_refs_name_main_and_the_converted_branch(judge):
    async with DemoHub([small_repo()]) as hub:
        refs = await asyncio.to_thread(lambda: judge(hub).list_repo_refs(REPO, repo_type="dataset"))
        converted = await asyncio.to_thread(
            lambda: judge(hub).list_repo_files(REPO, repo_type="dataset", revision="refs/convert/parquet")
        )
    assert [(ref.name, ref.ref, ref.target_commit) for ref in refs.branches] == [
        ("main", "refs/heads/main", hub.repo(REPO).main.sha)
    ]
    assert [ref.ref for ref in refs.converts] == ["refs/convert/parquet"]
    assert "swe_Latn/train/0001.parquet" in converted


async def test_a_snapshot_of_one_language_holds_the_bytes_of_the_corpus(judge, tmp_path):
    async with DemoHub() as hub:
        folder = await asyncio.to_thread(
            lambda: judge(hub).snapshot_download(
                FINEWEB, repo_type="dataset", allow_patterns=["data/swe_Latn/*", "README.md"], cache_dir=tmp_path
            )
        )
        assert hub.totals["cdn"].n_authorized == 0
    got = {str(path.relative_to(folder)): path.read_bytes() for path in tmp_path.glob("*/snapshots/*/**/*.*")}
    names = ("train/000_00000", "train/000_00001", "train/001_00000", "test/000_00000")
    paths = ["README.md", *(f"data/swe_Latn/{name}.parquet" for name in names)]
    assert got == {path: (corpus_dir() / path).read_bytes() for path in paths}


async def test_a_model_repo_serves_the_tokenizer(judge, tmp_path):
    async with DemoHub() as hub:
        path = await asyncio.to_thread(
            lambda: judge(hub).hf_hub_download("demo/tokenizer", "tokenizer.json", local_dir=tmp_path)
        )
    assert Path(path).read_bytes() == (corpus_dir() / "tokenizer" / "tokenizer.json").read_bytes()


async def test_an_old_commit_still_resolves_after_main_has_moved(judge, tmp_path):
    async with DemoHub([Repo(REPO, {"a.txt": b"old"})]) as hub:
        old = hub.repo(REPO).main.sha
        new = hub.push(REPO, {"a.txt": b"new", "b.txt": b"more"})

        def download(revision):
            api = judge(hub)
            path = api.hf_hub_download(REPO, "a.txt", repo_type="dataset", revision=revision, cache_dir=tmp_path)
            return Path(path).read_bytes()

        assert old != new
        assert await asyncio.to_thread(download, old) == b"old"
        assert await asyncio.to_thread(download, "main") == b"new"
        assert (await asyncio.to_thread(lambda: judge(hub).dataset_info(REPO))).sha == new


async def test_the_stock_client_gets_through_faults_that_it_tolerates(judge, tmp_path):
    faults = [
        Fault("early_end", origin="cdn", path=SWE, times=1, after_bytes=100_000),
        Fault("slow", origin="cdn", path="*removed*", bytes_per_s=40_000),
    ]
    async with DemoHub([small_repo()], faults=faults) as hub:
        folder = await asyncio.to_thread(
            lambda: judge(hub).snapshot_download(REPO, repo_type="dataset", cache_dir=tmp_path)
        )
        assert hub.totals["cdn"].faults == {"early_end": 1, "slow": 1}
    assert Path(folder, SWE).read_bytes() == bytes_of(BIG)


# Who may read


async def test_errors_of_missing_things_map_to_the_clients_own(judge, tmp_path):
    from huggingface_hub import errors

    async with DemoHub([small_repo()], token="hf_good") as hub:
        for token in (False, "hf_good"):
            with pytest.raises(errors.RepositoryNotFoundError) as caught:
                await asyncio.to_thread(lambda: judge(hub, token).dataset_info("org/none"))
            assert caught.value.response.status_code == (404 if token else 401)
        with pytest.raises(errors.RevisionNotFoundError):
            await asyncio.to_thread(lambda: judge(hub).dataset_info(REPO, revision="v9"))
        with pytest.raises(errors.RemoteEntryNotFoundError):
            await asyncio.to_thread(
                lambda: judge(hub).hf_hub_download(REPO, "no.txt", repo_type="dataset", cache_dir=tmp_path)
            )
        with pytest.raises(errors.RemoteEntryNotFoundError):
            await asyncio.to_thread(lambda: list(judge(hub).list_repo_tree(REPO, "data/xxx", repo_type="dataset")))


async def test_a_gated_repo_shows_its_listing_and_keeps_its_bytes(judge, tmp_path):
    from huggingface_hub import errors

    repos = [small_repo(gated="manual"), Repo("org/strict", FILES, gated="auto", granted=False)]
    async with DemoHub(repos, token="hf_good") as hub:

        def download(repo, token):
            return judge(hub, token).hf_hub_download(repo, SWE, repo_type="dataset", local_dir=tmp_path)

        info = await asyncio.to_thread(lambda: judge(hub).dataset_info(REPO))
        assert info.gated == "manual"
        for repo, token, status in ((REPO, False, 401), ("org/strict", "hf_good", 403)):
            with pytest.raises(errors.GatedRepoError) as caught:
                await asyncio.to_thread(download, repo, token)
            assert caught.value.response.status_code == status
        path = await asyncio.to_thread(download, REPO, "hf_good")
        assert hub.totals["cdn"].n_authorized == 0, "the token stays with the hub"
        assert hub.totals["hub"].n_authorized > 0
    assert Path(path).read_bytes() == bytes_of(BIG)


async def test_a_private_repo_does_not_exist_for_others(judge):
    from huggingface_hub import errors

    async with DemoHub([small_repo(private=True)], token="hf_good") as hub:
        with pytest.raises(errors.RepositoryNotFoundError):
            await asyncio.to_thread(lambda: judge(hub).dataset_info(REPO))
        assert (await asyncio.to_thread(lambda: judge(hub, "hf_good").dataset_info(REPO))).private is True


async def test_a_disabled_repo_is_told_from_a_missing_one(judge):
    from huggingface_hub import errors

    async with DemoHub([small_repo(disabled=True)]) as hub:
        with pytest.raises(errors.DisabledRepoError):
            await asyncio.to_thread(lambda: judge(hub).dataset_info(REPO))


async def test_a_wrong_token_is_refused_even_for_a_public_repo(judge):
    from huggingface_hub import errors

    async with DemoHub([small_repo()], token="hf_good") as hub:
        with pytest.raises(errors.HfHubHTTPError, match="Invalid credentials") as caught:
            await asyncio.to_thread(lambda: judge(hub, "hf_bad").dataset_info(REPO))
        assert not isinstance(caught.value, errors.RepositoryNotFoundError)
        assert (await asyncio.to_thread(lambda: judge(hub, "hf_good").whoami()))["name"] == "demo"


async def test_a_renamed_repo_sends_its_callers_on(judge, tmp_path):
    async with DemoHub([small_repo(), Repo("org/old", {}, renamed_to=REPO)]) as hub:
        info = await asyncio.to_thread(lambda: judge(hub).dataset_info("org/old"))
        path = await asyncio.to_thread(
            lambda: judge(hub).hf_hub_download("org/old", SWE, repo_type="dataset", local_dir=tmp_path)
        )
    assert info.id == REPO
    assert Path(path).read_bytes() == bytes_of(BIG)


# Resolve and CDN


async def test_an_lfs_file_is_sent_to_the_cdn_with_its_size_and_digest():
    async with DemoHub([small_repo()]) as hub, session() as http:
        for method in ("HEAD", "GET"):
            url = f"{hub.endpoint}/datasets/{REPO}/resolve/main/{SWE}"
            async with http.request(method, url, allow_redirects=False) as reply:
                headers = reply.headers
                assert reply.status == 302
        assert headers["X-Repo-Commit"] == hub.repo(REPO).main.sha
        assert headers["X-Linked-Size"] == "3000000"
        assert headers["X-Linked-ETag"] == f'"{BIG.sha256}"'
        assert headers["Accept-Ranges"] == "bytes"
        assert headers["Location"].startswith(f"{hub.cdn_endpoint}/")
        assert hub.cdn_endpoint != hub.endpoint
        assert headers["RateLimit"].startswith('"resolvers";r=')
        assert "w=300" in headers["RateLimit-Policy"]


@pytest.mark.parametrize(("size_bytes", "status"), [(1 << 20, 307), ((1 << 20) + 1, 302)])
async def test_any_file_above_a_mebibyte_is_an_lfs_file(size_bytes, status):
    async with DemoHub([Repo(REPO, {"big.bin": GeneratedFile(size_bytes)})]) as hub, session() as http:
        assert (await get(http, f"{hub.endpoint}/datasets/{REPO}/resolve/main/big.bin"))[0] == status


async def test_a_git_file_is_sent_to_the_cache_and_has_its_git_id_as_etag():
    etag = hashlib.sha1(b"blob %d\0" % len(README) + README).hexdigest()
    async with DemoHub([small_repo()]) as hub, session() as http:
        status, headers, _ = await get(http, f"{hub.endpoint}/datasets/{REPO}/resolve/main/README.md")
        assert status == 307
        assert headers["Location"].startswith(
            f"/api/resolve-cache/datasets/{REPO}/{hub.repo(REPO).main.sha}/README.md?"
        )
        assert headers["X-Repo-Commit"] == hub.repo(REPO).main.sha
        cached = URL(hub.endpoint + headers["Location"], encoded=True)
        status, headers, body = await get(http, cached)
        assert (status, body, headers["ETag"]) == (200, README, f'"{etag}"')
        assert (await get(http, cached, Range="bytes=2-9"))[0] == 206
        assert (await get(http, cached, If_None_Match=f'"{etag}"'))[0] == 304


async def test_a_git_file_that_travels_compressed_is_chunked_and_deaf_to_range():
    async with DemoHub([small_repo()]) as hub, aiohttp.ClientSession(auto_decompress=False) as http:
        _, headers, _ = await get(http, f"{hub.endpoint}/datasets/{REPO}/resolve/main/README.md")
        cached = URL(hub.endpoint + headers["Location"], encoded=True)
        status, headers, body = await get(http, cached, Accept_Encoding="gzip, deflate", Range="bytes=2-9")
    assert status == 200
    assert headers["Content-Encoding"] == "gzip"
    assert headers["ETag"].startswith('W/"')
    assert "Content-Length" not in headers
    assert gzip.decompress(body) == README


@pytest.mark.parametrize("kept", [{"private": True}, {"gated": "auto"}])
async def test_an_empty_file_and_a_closed_one_are_served_directly(kept):
    async with DemoHub([small_repo(), Repo("org/own", FILES, **kept)], token="t") as hub, session() as http:
        assert (await get(http, f"{hub.endpoint}/datasets/{REPO}/resolve/main/empty.txt"))[0::2] == (200, b"")
        url = f"{hub.endpoint}/datasets/org/own/resolve/main/README.md"
        assert (await get(http, url, Authorization="Bearer t"))[0::2] == (200, README)


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-99", 0, 100), ("bytes=2999000-", 2_999_000, None), ("bytes=-50", 2_999_950, None),
     ("bytes=1048575-1048576", 1_048_575, 1_048_577), ("bytes=2999999-9999999", 2_999_999, None)],
)  # fmt: skip
async def test_a_range_is_answered_with_exactly_those_bytes(asked, start, end):
    status, headers, body = await from_cdn([], Range=asked)
    assert status == 206
    assert body == bytes_of(BIG)[start:end]
    assert headers["Content-Range"] == f"bytes {start}-{start + len(body) - 1}/3000000"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "bytes=9-3", "lines=1-2", "bytes=-"])
async def test_a_range_that_means_nothing_is_ignored(asked):
    status, _, body = await from_cdn([], Range=asked)
    assert (status, len(body)) == (200, 3_000_000)


@pytest.mark.parametrize("asked", ["bytes=3000000-", "bytes=-0"])
async def test_a_range_beyond_the_end_is_416_and_tells_the_size(asked):
    status, headers, _ = await from_cdn([], Range=asked)
    assert (status, headers["Content-Range"]) == (416, "bytes */3000000")


async def test_the_cdn_etag_is_stable_and_says_nothing_of_the_bytes():
    async with DemoHub([small_repo()]) as hub, session() as http:
        etags = {(await get(http, await signed_url(hub, http), Range="bytes=0-0"))[1]["ETag"] for _ in range(2)}
        (etag,) = etags
        assert BIG.sha256 not in etag
        url = await signed_url(hub, http)
        assert (await get(http, url, If_Match=etag, Range="bytes=0-0"))[0] == 206
        assert (await get(http, url, If_Match='"other"', Range="bytes=0-0"))[0] == 412
        assert (await get(http, url, If_Range='"other"', Range="bytes=0-0"))[0] == 200
        other = await signed_url(hub, http, "data/swe_Latn/train/000_00001.parquet")
        assert (await get(http, other, Range="bytes=0-0"))[1]["ETag"] != etag


async def test_a_signed_url_dies_at_its_hour_and_a_new_one_lives():
    clock = [1_800_000_000.0]
    async with DemoHub([small_repo()], url_life_s=60, now=lambda: clock[0]) as hub, session() as http:
        url = await signed_url(hub, http)
        assert "Expires=1800000060&" in str(url)
        clock[0] += 59
        assert (await get(http, url, Range="bytes=0-0"))[0] == 206
        clock[0] += 1
        status, headers, body = await get(http, url, Range="bytes=0-0")
        assert (status, headers["Content-Type"]) == (403, "application/xml")
        assert b"<Code>AccessDenied</Code>" in body
        assert (await get(http, await signed_url(hub, http), Range="bytes=0-0"))[0] == 206


async def test_a_tampered_or_requoted_signed_url_is_refused():
    async with DemoHub([small_repo()]) as hub, session() as http:
        text = str(await signed_url(hub, http))
        for wrong in (text.replace("Signature=", "Signature=0"), text.replace("Expires=1", "Expires=2")):
            status, _, body = await get(http, URL(wrong, encoded=True))
            assert status == 403
            assert b"SignatureDoesNotMatch" in body
        assert (await get(http, URL(text)))[0] == 403, "yarl requotes unless told that it is encoded"
        assert (await get(http, text.partition("?")[0]))[0] == 403
        async with http.head(URL(text, encoded=True)) as reply:
            assert reply.status == 403


async def test_a_token_that_reaches_the_cdn_is_seen():
    async with DemoHub([small_repo()], token="t") as hub, session() as http:
        status, _, body = await get(http, await signed_url(hub, http), Authorization="Bearer t")
        assert status == 400
        assert b"Only one auth mechanism allowed" in body
        assert hub.totals["cdn"].n_authorized == 1


# Listing, raw


async def test_pages_are_followed_by_the_link_alone_and_the_last_has_none():
    async with DemoHub([small_repo()], page_size=4) as hub, session() as http:
        url, pages = f"{hub.endpoint}/api/datasets/{REPO}/tree/main/data?recursive=True", []
        while url:
            async with http.get(url) as reply:
                pages.append([entry["path"] for entry in await reply.json()])
                url = reply.links["next"]["url"] if reply.links else None
    assert [len(page) for page in pages] == [4, 3]
    paths = [path for page in pages for path in page]
    assert paths == sorted(set(paths))


async def test_a_revision_with_slashes_is_one_encoded_segment():
    async with DemoHub([small_repo()]) as hub, session() as http:
        url = f"{hub.endpoint}/datasets/{REPO}/resolve/refs%2Fconvert%2Fparquet/swe_Latn/train/0001.parquet"
        status, headers, _ = await get(http, URL(url, encoded=True))
        assert (status, headers["X-Linked-Size"]) == (302, "5000")
        tree = f"{hub.endpoint}/api/datasets/{REPO}/tree/main/data%2Fswe_Latn"
        assert (await get(http, URL(tree, encoded=True)))[0] == 200


class ManyFiles(Mapping):
    """20 000 files that nobody has made yet."""

    def __iter__(self):
        return (f"data/{n // 100:03d}/{n:05d}.txt" for n in range(20_000))

    def __len__(self):
        return 20_000

    def __getitem__(self, path):
        return GeneratedFile(100, seed=int(path[-9:-4]))

    def get(self, path, default=None):
        return self[path] if path.endswith(".txt") else default


async def test_a_repo_may_be_a_lazy_mapping_of_twenty_thousand_files():
    async with DemoHub([Repo("org/many", ManyFiles())]) as hub, session() as http:
        url, paths = f"{hub.endpoint}/api/datasets/org/many/tree/main?recursive=True", []
        while url:
            async with http.get(url) as reply:
                paths += [entry["path"] for entry in await reply.json() if entry["type"] == "file"]
                url = reply.links["next"]["url"] if reply.links else None
    assert paths == list(ManyFiles())


def test_generated_files_are_reproducible_and_show_a_segment_at_the_wrong_place():
    whole = bytes_of(BIG)
    assert len(whole) == BIG.size_bytes
    assert hashlib.sha256(whole).hexdigest() == BIG.sha256 == GeneratedFile(3_000_000, seed=7).sha256
    assert GeneratedFile(3_000_000, seed=6).sha256 != BIG.sha256
    assert bytes_of(BIG, 1_000_000, 2_500_001) == whole[1_000_000:2_500_001]
    assert whole[: 1 << 20] != whole[1 << 20 : 2 << 20]


# Dataset viewer


async def test_the_viewer_answers_for_main_and_its_urls_resolve():
    async with DemoHub([small_repo()]) as hub, session() as http:
        status, headers, body = await get(http, f"{hub.endpoint}/parquet?dataset={REPO}")
        listed = json.loads(body)
        assert (status, headers["X-Revision"]) == (200, hub.repo(REPO).main.sha)
        assert (listed["partial"], listed["pending"], listed["failed"]) == (False, [], [])
        first = listed["parquet_files"][0]
        assert (first["config"], first["split"], first["size"]) == ("swe_Latn", "train", 3_000_000)
        status, headers, _ = await get(http, URL(first["url"], encoded=True))
        assert headers["X-Linked-ETag"] == f'"{BIG.sha256}"'
        _, _, body = await get(http, f"{hub.endpoint}/splits?dataset={REPO}&config=swe_Latn_removed")
        assert json.loads(body) == {"splits": [{"dataset": REPO, "config": "swe_Latn_removed", "split": "train"}]}
        _, _, body = await get(http, f"{hub.endpoint}/is-valid?dataset={REPO}")
        assert json.loads(body)["viewer"] is True


async def test_the_viewer_knows_the_rows_of_the_corpus():
    async with DemoHub() as hub, session() as http:
        _, _, body = await get(http, f"{hub.endpoint}/size?dataset={FINEWEB}&config=swe_Latn")
        rows = {row["split"]: row["num_rows"] for row in json.loads(body)["size"]["splits"]}
        assert rows == {"train": 30, "test": 1}
        _, _, body = await get(http, f"{hub.endpoint}/size?dataset={FINEWEB}")
        assert json.loads(body)["size"]["dataset"]["num_rows"] > 2000


async def test_the_viewer_admits_what_is_partial_pending_failed_or_stale():
    viewer = Viewer(partial=True, pending=(("swe_Latn", "train"),), failed=(("x", "y"),), revision="0" * 40)
    async with DemoHub([small_repo(viewer=viewer)]) as hub, session() as http:
        _, headers, body = await get(http, f"{hub.endpoint}/parquet?dataset={REPO}")
    listed = json.loads(body)
    assert headers["X-Revision"] == "0" * 40
    assert listed["partial"] is True
    assert [(row["config"], row["split"]) for row in listed["pending"] + listed["failed"]] == [
        ("swe_Latn", "train"),
        ("x", "y"),
    ]
    assert ["partial-train" in row["url"] for row in listed["parquet_files"]] == [True]


async def test_the_viewer_refuses_in_its_own_words():
    repos = [
        small_repo(viewer=Viewer(error=(500, "ResponseNotReady"))),
        Repo("org/old", {}, renamed_to=REPO),
        Repo("org/own", FILES, private=True, granted=False),
        Repo("org/fine", FILES),
    ]
    expected = {
        f"?dataset={REPO}": (500, "ResponseNotReady"),
        "?dataset=org/old": (404, "RenamedDatasetError"),
        "?dataset=org/own": (401, "ExternalUnauthenticatedError"),
        "?dataset=org/fine&config=none": (404, "ResponseNotFound"),
        "": (422, "MissingRequiredParameter"),
    }
    async with DemoHub(repos, token="t") as hub, session() as http:
        for query, answer in expected.items():
            status, headers, _ = await get(http, f"{hub.endpoint}/parquet{query}")
            assert (status, headers["X-Error-Code"]) == answer
        status, headers, _ = await get(http, f"{hub.endpoint}/parquet?dataset=org/own", Authorization="Bearer t")
        assert (status, headers["X-Error-Code"]) == (404, "ExternalAuthenticatedError")


# Faults


def raw_body(url):
    """(bytes of the body, how it ended) as a plain socket sees them."""
    parts = urlsplit(str(url))
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as sock:
        sock.sendall(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return body_from(sock)


def body_from(sock):
    received = b""
    try:
        while block := sock.recv(1 << 20):
            received += block
        ending = "end"
    except ConnectionResetError:
        ending = "reset"
    return received.partition(b"\r\n\r\n")[2], ending


@pytest.mark.parametrize(
    ("fault", "n_bytes", "ending"),
    [
        (Fault("drop", origin="cdn", after_bytes=1_000_001), 1_000_001, "reset"),
        (Fault("drop", origin="cdn", after_bytes=0), 0, "reset"),
        (Fault("early_end", origin="cdn", after_bytes=1_000_001), 1_000_001, "end"),
        (Fault("hang_up", origin="cdn"), 0, "reset"),
        (Fault("wrong_length", origin="cdn", delta_bytes=5), 3_000_000, "end"),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
async def test_a_cut_body_ends_as_told_after_exactly_as_many_bytes(fault, n_bytes, ending):
    async with DemoHub([small_repo()], faults=[fault]) as hub, session() as http:
        url = await signed_url(hub, http)
        body, how = await asyncio.to_thread(raw_body, url)
        assert (body == bytes_of(BIG, 0, n_bytes), len(body), how) == (True, n_bytes, ending)
        assert hub.totals["cdn"].faults == {fault.kind: 1}
        assert hub.requests[-1].bytes_sent == n_bytes


async def test_a_reset_waits_for_a_slow_reader_to_have_what_was_sent():
    n_bytes = 200_000
    fault = Fault("drop", origin="cdn", after_bytes=n_bytes)
    async with DemoHub([small_repo()], faults=[fault]) as hub, session() as http:
        url = urlsplit(str(await signed_url(hub, http)))
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect((url.hostname, url.port))
            sock.sendall(f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            while hub.requests[-1].bytes_sent < n_bytes:
                await asyncio.sleep(0)
            body, how = await asyncio.to_thread(body_from, sock)
    assert (len(body), how) == (n_bytes, "reset")


async def test_a_body_shorter_than_the_cut_passes_whole_and_does_not_count():
    faults = [Fault("drop", origin="cdn", after_bytes=100, times=1)]
    async with DemoHub([small_repo()], faults=faults) as hub, session() as http:
        url = await signed_url(hub, http)
        status, _, body = await get(http, url, Range="bytes=0-99")
        assert (status, len(body)) == (206, 100)
        assert hub.totals["cdn"].faults == {}
        with pytest.raises(aiohttp.ClientPayloadError):
            await get(http, url, Range="bytes=0-100")


async def test_a_fault_of_bytes_waits_for_a_request_that_brings_them():
    faults = [Fault("flipped", path="*.parquet", times=1)]
    async with DemoHub([small_repo()], faults=faults) as hub, session() as http:
        body = (await get(http, await signed_url(hub, http)))[2]
        assert hub.totals["hub"].faults == {}
    assert body[0] == bytes_of(BIG, 0, 1)[0] ^ 1


async def test_a_stalled_body_waits_until_the_client_goes_away():
    async with DemoHub([small_repo()], faults=[Fault("stall", origin="cdn", after_bytes=1000)]) as hub:
        async with session() as http, http.get(await signed_url(hub, http)) as reply:
            assert await reply.content.readexactly(1000) == bytes_of(BIG, 0, 1000)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await reply.content.readany()
            reply.close()
        assert hub.requests[-1].bytes_sent == 1000
        async with asyncio.timeout(2):
            while hub.totals["cdn"].n_open:
                await asyncio.sleep(0)


async def test_a_hub_with_a_stalled_client_closes_at_once():
    async with session() as http:
        async with DemoHub([small_repo()], faults=[Fault("stall", origin="cdn", after_bytes=10)]) as hub:
            reply = await http.get(await signed_url(hub, http))
            await reply.content.readexactly(10)
            began = time.monotonic()
        assert time.monotonic() - began < 2
        reply.close()


async def test_a_slow_body_keeps_its_speed():
    began = time.monotonic()
    fault = Fault("slow", origin="cdn", bytes_per_s=50_000)
    assert (await from_cdn([fault], Range="bytes=0-9999"))[2] == bytes_of(BIG, 0, 10_000)
    assert 0.15 < time.monotonic() - began < 2


async def test_statuses_come_with_the_headers_the_rule_gives_and_no_others():
    date = format_datetime(datetime(2030, 1, 1, tzinfo=UTC), usegmt=True)
    faults = [
        Fault("status", path="/api/*", status=429, retry_after="7", times=1),
        Fault("status", path="/api/*", status=429, retry_after=date, times=1),
        Fault("status", path="/api/*", status=429, rate_limit='"api";r=0;t=3', times=1),
        Fault("status", path="/api/*", status=500, times=1),
    ]
    async with DemoHub([small_repo()], faults=faults) as hub, session() as http:
        seen = []
        for _ in range(5):
            status, headers, _ = await get(http, f"{hub.endpoint}/api/datasets/{REPO}")
            seen.append((status, headers.get("Retry-After"), headers.get("RateLimit")))
    assert seen[:4] == [(429, "7", None), (429, date, None), (429, None, '"api";r=0;t=3'), (500, None, None)]
    assert seen[4][0] == 200


async def test_a_file_may_be_missing_though_it_was_listed():
    async with DemoHub([small_repo()], faults=[Fault("missing", origin="hub", path=SWE)]) as hub, session() as http:
        status, headers, _ = await get(http, f"{hub.endpoint}/datasets/{REPO}/resolve/main/{SWE}")
    assert (status, headers["X-Error-Code"]) == (404, "EntryNotFound")


async def test_a_web_page_comes_with_200():
    status, headers, body = await from_cdn([Fault("html", origin="cdn")], Range="bytes=0-9")
    assert (status, headers.get("Content-Range")) == (200, None)
    assert body.lower().startswith(b"<!doctype html")


async def test_redirects_go_in_circles_or_where_they_are_told():
    faults = [
        Fault("redirect_loop", origin="cdn", times=1),
        Fault("redirect_to", origin="cdn", location="http://169.254.169.254/latest/meta-data"),
    ]
    async with DemoHub([small_repo()], faults=faults) as hub, session() as http:
        url = await signed_url(hub, http)
        status, headers, _ = await get(http, url)
        assert (status, headers["Location"]) == (302, str(url.relative()))
        status, headers, _ = await get(http, url)
        assert (status, headers["Location"]) == (302, "http://169.254.169.254/latest/meta-data")


async def test_an_ignored_range_is_the_whole_file_with_200():
    status, headers, body = await from_cdn([Fault("range_ignored")], Range="bytes=10-19")
    assert (status, headers.get("Content-Range"), len(body)) == (200, None, 3_000_000)


async def test_a_range_at_the_end_is_shifted_back():
    fault = Fault("range_shifted", delta_bytes=512)
    _, headers, body = await from_cdn([fault], Range="bytes=2999900-2999999")
    assert headers["Content-Range"] == "bytes 2999388-2999487/3000000"
    assert body == bytes_of(BIG, 2_999_388, 2_999_488)


@pytest.mark.parametrize("delta", [1, -4096])
async def test_a_shifted_range_is_labelled_as_what_it_is(delta):
    status, headers, body = await from_cdn([Fault("range_shifted", delta_bytes=delta)], Range="bytes=10000-10099")
    assert status == 206
    assert headers["Content-Range"] == f"bytes {10000 + delta}-{10099 + delta}/3000000"
    assert body == bytes_of(BIG, 10000 + delta, 10100 + delta)


async def test_one_flipped_bit_leaves_every_header_right():
    status, headers, body = await from_cdn([Fault("flipped", after_bytes=50)], Range="bytes=1000-1099")
    good = bytes_of(BIG, 1000, 1100)
    assert (status, headers["Content-Range"]) == (206, "bytes 1000-1099/3000000")
    assert [i for i in range(100) if body[i] != good[i]] == [50]


async def test_a_file_that_changes_half_way_has_another_etag_and_other_bytes():
    async with DemoHub([small_repo()], faults=[Fault("changed", origin="cdn", skip=2)]) as hub, session() as http:
        url = await signed_url(hub, http)
        seen = [await get(http, url, Range="bytes=0-99") for _ in range(4)]
        assert (await get(http, url, If_Match=seen[0][1]["ETag"]))[0] == 412
    assert [reply[2] == bytes_of(BIG, 0, 100) for reply in seen] == [True, True, False, False]
    etags = [reply[1]["ETag"] for reply in seen]
    assert etags[0] == etags[1] != etags[2] == etags[3]


async def test_the_first_signed_urls_may_be_stillborn():
    faults = [Fault("expired_url", path=SWE, times=2)]
    async with DemoHub([small_repo()], faults=faults) as hub, session() as http:
        seen = [(await get(http, await signed_url(hub, http), Range="bytes=0-0"))[0] for _ in range(3)]
        assert hub.totals["hub"].faults == {"expired_url": 2}
    assert seen == [403, 403, 206]


async def test_lengths_and_totals_may_lie():
    status, headers, body = await from_cdn([Fault("wrong_length", delta_bytes=-10, origin="cdn")], Range="bytes=0-99")
    assert (status, headers["Content-Length"], len(body)) == (206, "90", 90)
    _, headers, _ = await from_cdn([Fault("wrong_total", delta_bytes=10)], Range="bytes=0-99")
    assert headers["Content-Range"] == "bytes 0-99/3000010"


async def test_gzip_may_come_unasked():
    hub = DemoHub([small_repo()], faults=[Fault("gzip", origin="cdn")])
    async with hub, aiohttp.ClientSession(auto_decompress=False) as http:
        url = await signed_url(hub, http)
        _, headers, body = await get(http, url, Range="bytes=0-99", Accept_Encoding="identity")
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == bytes_of(BIG, 0, 100)


async def test_rules_strike_every_nth_at_most_so_often_and_only_where_they_match():
    faults = [Fault("status", origin="hub", path="*/tree/*", skip=1, every=2, times=2)]
    async with DemoHub([small_repo()], faults=faults) as hub, session() as http:
        tree = [(await get(http, f"{hub.endpoint}/api/datasets/{REPO}/tree/main"))[0] for _ in range(8)]
        other = (await get(http, f"{hub.endpoint}/api/datasets/{REPO}"))[0]
    assert tree == [200, 200, 503, 200, 503, 200, 200, 200]
    assert other == 200


async def test_chance_is_the_same_for_the_same_seed():
    async def statuses(seed):
        faults = [Fault("status", path="/api/*", probability=0.5, seed=seed)]
        async with DemoHub([small_repo()], faults=faults) as hub, session() as http:
            return [(await get(http, f"{hub.endpoint}/api/datasets/{REPO}"))[0] for _ in range(20)]

    first = await statuses(1)
    assert set(first) == {200, 503}
    assert await statuses(1) == first != await statuses(2)


def test_rules_survive_json():
    faults = [
        Fault("drop", origin="cdn", path="*.parquet", after_bytes=10, every=3),
        Fault("status", status=429, retry_after="1", probability=0.25, seed=4, times=2, skip=1),
    ]
    assert faults_from_json(json.loads(json.dumps(faults_to_json(faults)))) == faults
    with pytest.raises(ValueError, match="unknown fault 'explode'"):
        faults_from_json([{"kind": "explode"}])


# The journal, and the hub as a program


async def test_the_journal_knows_what_was_asked_and_what_was_sent():
    async with DemoHub([small_repo()]) as hub, session() as http:
        await get(http, await signed_url(hub, http), Range="bytes=0-99")
        resolve, cdn = hub.requests
        assert hub.totals["cdn"].peak_open == 1
        assert (resolve.origin, resolve.method, resolve.path, resolve.status) == ("hub", "GET", SWE, 302)
        assert (cdn.origin, cdn.path, cdn.range, cdn.status, cdn.bytes_sent) == ("cdn", SWE, "bytes=0-99", 206, 100)
        assert not cdn.has_authorization
        assert hub.totals["cdn"].body_bytes == 100
        assert hub.totals["cdn"].bytes_by_path == {SWE: 100}


async def test_the_hub_runs_as_a_program_until_sigterm(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.parquet").write_bytes(b"PAR1 bytes")
    rules = tmp_path.parent / f"{tmp_path.name}.json"
    rules.write_text(json.dumps([{"kind": "status", "origin": "cdn", "status": 503, "times": 1}]))
    command = ["-m", "asyncdl.demo.hub", "--repo-dir", f"org/local={tmp_path}", "--token", "t", "--faults", f"@{rules}"]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
    where = json.loads(await process.stdout.readline())
    async with session() as http:
        url = f"{where['endpoint']}/datasets/org/local/resolve/main/data/a.parquet"
        _, headers, _ = await get(http, url)
        signed = URL(headers["Location"], encoded=True)
        assert signed.origin() == URL(where["cdn_endpoint"])
        assert [(await get(http, signed))[0] for _ in range(2)] == [503, 200]
        totals = json.loads((await get(http, f"{where['endpoint']}/_demo/stats"))[2])
        assert totals["cdn"]["faults"] == {"status": 1}
        assert totals["hub"]["n_requests"] == 1, "looking does not count"
        async with http.post(f"{where['endpoint']}/_demo/faults", json=[{"kind": "missing"}]) as reply:
            assert await reply.json() == [{"kind": "missing"}]
        assert (await get(http, url))[0] == 404
        async with http.post(f"{where['endpoint']}/_demo/faults", json=[{"kind": "explode"}]) as reply:
            assert reply.status == 400
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


def test_asking_where_the_corpus_is_loads_no_server():
    code = "import sys, asyncdl.demo as d; d.corpus_dir(); print({'aiohttp', 'pyarrow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


# The corpus


def test_the_corpus_has_the_columns_and_names_of_fineweb_2():
    columns = [
        ("text", "string"), ("id", "string"), ("dump", "string"), ("url", "string"), ("date", "string"),
        ("file_path", "string"), ("language", "string"), ("language_score", "double"),
        ("language_script", "string"), ("minhash_cluster_size", "int64"), ("top_langs", "string"),
    ]  # fmt: skip
    files = sorted((corpus_dir() / "data").rglob("*.parquet"))
    subsets = {path.parts[-3] for path in files}
    assert len(subsets) > 41
    assert {"swe_Latn", "swe_Latn_removed", "jpn_Jpan", "cmn_Hani", "arb_Arab", "kor_Hang", "nob_Latn"} <= subsets
    for path in files:
        table = pq.read_table(path)
        assert [(field.name, str(field.type)) for field in table.schema] == columns
        language, script = path.parts[-3].split("_")[:2]
        assert set(table["language"].to_pylist()) == {language}
        assert set(table["language_script"].to_pylist()) == {script}
        assert all(text.strip() for text in table["text"].to_pylist())
    ids = [row for path in files if "_removed" not in str(path) for row in pq.read_table(path)["id"].to_pylist()]
    assert len(ids) == len(set(ids))


def test_the_corpus_tokenizer_gives_every_text_back():
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(corpus_dir() / "tokenizer" / "tokenizer.json"))
    config = json.loads((corpus_dir() / "tokenizer" / "tokenizer_config.json").read_text())
    assert tokenizer.token_to_id(config["eos_token"]) == 0
    for path in (corpus_dir() / "data").glob("*/test/*.parquet"):
        for text in pq.read_table(path)["text"].to_pylist():
            assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_the_demo_repos_have_the_same_commit_on_every_machine():
    shas = {repo.name: repo.main.sha for repo in demo_repos()}
    assert shas == {repo.name: repo.main.sha for repo in demo_repos()}
    assert all(len(sha) == 40 for sha in shas.values())
