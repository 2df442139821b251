"""The demo hub takes uploads as the Hub does: the stock client is the judge."""

import asyncio
import hashlib

import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RepositoryNotFoundError

from asyncdl.demo.faults import Fault
from asyncdl.demo.hub import DemoHub
from asyncdl.demo.repos import Repo

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPO, TOKEN = "org/name", "hf_good"
CONTENT = bytes(range(256)) * 10
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def lfs(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    huggingface_hub.utils.disable_progress_bars()


@pytest.fixture
async def hub():
    async with DemoHub([Repo(REPO, {"old.txt": b"old"})], token=TOKEN, part_bytes=1000) as running:
        yield running


async def call(hub, name, *args, token=TOKEN, **options):
    api = huggingface_hub.HfApi(endpoint=hub.endpoint, token=token)
    return await asyncio.to_thread(lambda: getattr(api, name)(*args, repo_type="dataset", **options))


async def commit(hub, files, **options):
    adds = [CommitOperationAdd(path, content) for path, content in files.items()]
    return await call(hub, "create_commit", REPO, adds, commit_message="Add", **options)


async def test_large_and_small_files_become_a_commit_on_top_of_the_last(hub):
    made = await commit(hub, {"a.parquet": CONTENT, "b.parquet": b"small", "README.md": b"# text"})
    head = hub.repo(REPO).main
    assert (made.oid, made.commit_url) == (head.sha, f"{hub.endpoint}/datasets/{REPO}/commit/{head.sha}")
    assert {path: head.content(path).read() for path in head.paths} == {
        "a.parquet": CONTENT, "b.parquet": b"small", "README.md": b"# text", "old.txt": b"old",
    }  # fmt: skip
    assert sum(request.method == "PUT" for request in hub.requests) == 4, "three parts, and one in one piece"


async def test_an_object_that_is_stored_is_not_asked_for_again(hub):
    await commit(hub, {"a.parquet": CONTENT})
    await commit(hub, {"c.parquet": CONTENT})
    assert hub.n_stored == {SHA256: 1}
    assert hub.repo(REPO).main.content("c.parquet").sha256 == SHA256


async def test_a_commit_on_another_parent_is_412(hub):
    before = hub.repo(REPO).main.sha
    await commit(hub, {"a.parquet": CONTENT}, parent_commit=before)
    with pytest.raises(HfHubHTTPError) as refused:
        await commit(hub, {"b.parquet": b"b"}, parent_commit=before)
    assert refused.value.response.status_code == 412
    assert hub.repo(REPO).main.content("b.parquet") is None


async def test_a_commit_of_an_object_that_was_never_stored_is_refused(hub):
    add = CommitOperationAdd("a.parquet", CONTENT)
    add._upload_mode, add._is_uploaded = "lfs", True
    with pytest.raises(BadRequestError):
        await call(hub, "create_commit", REPO, [add], commit_message="Add")


async def test_an_expired_url_is_403_and_a_late_status_comes_after_the_work(hub):
    hub.set_faults([Fault("expired_url", path="/lfs/*", times=1)])
    with pytest.raises(RuntimeError):
        await commit(hub, {"b.parquet": b"small"})
    assert hub.n_stored == {}
    hub.set_faults([Fault("late_status", path="*/commit/main", status=500)])
    with pytest.raises(HfHubHTTPError):
        await commit(hub, {"b.parquet": b"small"})
    assert hub.repo(REPO).main.content("b.parquet").read() == b"small"


async def test_repos_and_branches_are_made_once(hub):
    for _ in range(2):
        await call(hub, "create_repo", "org/new", private=True, exist_ok=True)
        await call(hub, "create_branch", REPO, branch="next", exist_ok=True)
    with pytest.raises(HfHubHTTPError):
        await call(hub, "create_repo", "org/new")
    assert hub.repo("org/new").private
    await commit(hub, {"a.txt": b"a"}, revision="next")
    assert hub.repo(REPO).revision("next").paths == ["a.txt", "old.txt"]
    assert hub.repo(REPO).main.paths == ["old.txt"]


async def test_without_a_token_or_with_one_that_may_only_read_nothing_is_written(hub):
    with pytest.raises((HfHubHTTPError, RepositoryNotFoundError)):
        await call(hub, "create_repo", "org/new", token=False)
    async with DemoHub([Repo(REPO, {})], token=TOKEN, role="read") as reading:
        with pytest.raises(HfHubHTTPError) as refused:
            await commit(reading, {"a.txt": b"a"})
        assert refused.value.response.status_code == 403
        assert reading.repo(REPO).log == []
