"""An upload through huggingface_hub to the demo hub: whatever goes wrong on the way, nothing comes twice or is lost."""

import asyncio
import hashlib
import logging

import huggingface_hub
import pytest
from huggingface_hub.utils._http import default_client_factory

from asyncdl.core.retry import TREATMENTS
from asyncdl.core.uploads import CARD
from asyncdl.demo.faults import Fault
from asyncdl.demo.hub import DemoHub
from asyncdl.demo.repos import Repo
from asyncdl.engine import uploading
from asyncdl.engine.gathering import text_file
from asyncdl.engine.uploading import Progress, Uploader
from asyncdl.errors import ConfigError, RemoteError, ShardError, UsageError
from asyncdl.net.hub_writer import HubWriter
from tests.support.uploads import REPO, TOKEN, assert_nothing_came_twice, held, local

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own business
COMMIT = "*/commit/main"
OTHER = {"other.parquet": b"of somebody else"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """LFS, for the demo hub has no Xet; no waits; and the library as it was afterwards."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(uploading, "BASE_DELAY_S", 0.001)
    monkeypatch.setattr(uploading, "UNTOLD_PAUSE_S", 0.01)
    yield
    huggingface_hub.set_client_factory(default_client_factory)
    huggingface_hub.utils.enable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.WARNING)
    logging.getLogger("httpx2").setLevel(logging.NOTSET)


@pytest.fixture
async def hub():
    async with DemoHub([Repo(REPO, {})], token=TOKEN, part_bytes=1000) as running:
        yield running


@pytest.fixture
def files(tmp_path):
    """Four shards, two of them in parts, and a text."""
    shards = [local(f"train/shard_{n}.parquet", tmp_path / f"{n}.parquet", bytes([n]) * (700 * n)) for n in range(1, 5)]
    return [*shards, text_file("notes.txt", b"a text")]


def uploader_of(hub, *, replace=(), progress=None, branch="main", head=None, **options):
    writer = HubWriter(hub.endpoint, REPO, branch, {"Authorization": f"Bearer {TOKEN}"}, **options)
    head = head or hub.repo(REPO).main.sha
    return Uploader(writer, head, progress or Progress(), replace=frozenset(replace))


def digests(files):
    return {file.path: file.sha256 for file in files}


async def test_all_files_come_in_commits_that_only_add(hub, files, monkeypatch):
    monkeypatch.setattr("asyncdl.core.uploads.MAX_COMMIT_FILES", 2)
    hub.push(REPO, OTHER)
    progress = Progress()
    await uploader_of(hub, progress=progress).upload(files)
    assert held(hub) == digests(files) | {"other.parquet": hashlib.sha256(OTHER["other.parquet"]).hexdigest()}
    assert [len(paths) for _, _, paths in hub.repo(REPO).log] == [2, 2, 1]
    assert (progress.n_commits, progress.n_files_done, progress.n_bytes_sent) == (3, 5, progress.n_bytes)
    assert_nothing_came_twice(hub)


class Watched(Progress):
    def told(self, path, n_bytes):
        super().told(path, n_bytes)
        seen.append((path, n_bytes))


seen = []


async def test_what_is_under_way_shows_before_it_is_committed(hub, files):
    seen.clear()
    await uploader_of(hub, progress=Watched()).upload(files)
    assert dict(seen) == {file.path: file.size_bytes for file in files if file.content is None}
    assert (files[3].path, 1000) in seen, "a part"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("hang_up", path=COMMIT, times=2),
        Fault("drop", path=COMMIT, times=1),
        Fault("early_end", path=COMMIT, times=1),
        Fault("late_status", path=COMMIT, status=504, times=1),
        Fault("late_status", path=COMMIT, status=500, times=1),
        Fault("status", path=COMMIT, status=504, times=3),
        Fault("status", path=COMMIT, status=429, retry_after="0", times=2),
        Fault("status", path=COMMIT, status=429, times=1),
        Fault("status", path=COMMIT, status=412, times=1),
        Fault("status", path="*/preupload/main", status=503, times=1),
        Fault("status", path="*/objects/batch", status=429, retry_after="0", times=1),
        Fault("status", path="*/paths-info/*", status=502, times=1),
        Fault("status", path="/lfs/*", status=500, times=2),
        Fault("late_status", path="/lfs/*", status=500, times=2),
        Fault("late_status", path="/api/complete_multipart/*", status=504, times=1),
        Fault("expired_url", path="/lfs/*", times=3),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.path.strip('*/').replace('/', '-')}",
)
async def test_what_goes_wrong_once_is_mended_and_nothing_comes_twice(hub, files, fault):
    first = Fault("status", path=COMMIT, status=503, times=int("paths-info" in fault.path))  # a look follows a failure
    hub.set_faults([fault, first])
    await uploader_of(hub).upload(files)
    assert held(hub) == digests(files)
    assert any(totals.faults[fault.kind] for totals in hub.totals.values())
    assert set(added(hub)) == set(digests(files))
    assert len(added(hub)) == len(files)
    if "/lfs/" not in fault.path:
        assert_nothing_came_twice(hub)


def added(hub):
    return [path for _, _, paths in hub.repo(REPO).log for path in paths]


async def test_a_commit_whose_answer_was_lost_is_looked_up_and_not_made_again(hub, files):
    hub.set_faults([Fault("late_status", path=COMMIT, status=504)])
    await uploader_of(hub).upload(files)
    assert held(hub) == digests(files)
    paths = [request.path for request in hub.requests]
    after = paths[paths.index(f"/api/datasets/{REPO}/commit/main") + 1 :]
    assert [path.split("/")[5] for path in after] == ["revision", "paths-info"]


async def test_a_commit_without_any_answer_is_given_up_and_looked_up(hub, files):
    hub.set_faults([Fault("stall", path=COMMIT, times=1)])
    await uploader_of(hub, timeout_s=0.5).upload(files)
    assert held(hub) == digests(files)
    assert len(hub.repo(REPO).log) == 1


async def test_when_somebody_else_has_committed_ours_goes_on_top(hub, files):
    before = hub.repo(REPO).main.sha
    hub.push(REPO, OTHER)
    await uploader_of(hub, head=before).upload(files)
    assert set(held(hub)) == {*digests(files), *OTHER}
    assert [request.status for request in hub.requests if request.path.endswith("/commit/main")] == [412, 200]


async def test_what_somebody_else_put_in_the_place_is_not_replaced(hub, files):
    before = hub.repo(REPO).main.sha
    hub.push(REPO, {"train/shard_1.parquet": b"other bytes"})
    with pytest.raises(UsageError, match="somebody else"):
        await uploader_of(hub, head=before).upload(files)
    assert hub.repo(REPO).log == []
    await uploader_of(hub, head=before, replace=["train/shard_1.parquet"]).upload(files)
    assert held(hub) == digests(files)


async def test_what_somebody_else_has_uploaded_meanwhile_is_in_no_commit(hub, files):
    before = hub.repo(REPO).main.sha
    with open(files[0].place, "rb") as file:
        hub.push(REPO, {files[0].path: file.read()})
    await uploader_of(hub, head=before).upload(files)
    assert held(hub) == digests(files)
    assert files[0].path not in added(hub)


async def test_a_card_that_a_person_wrote_meanwhile_stays(hub, files):
    before = hub.repo(REPO).main.sha
    hub.push(REPO, {CARD: b"mine"})
    await uploader_of(hub, head=before).upload([text_file(CARD, b"made"), *files])
    assert hub.repo(REPO).main.content(CARD).read() == b"mine"
    assert set(held(hub)) == {*digests(files), CARD}


@pytest.mark.parametrize("path", [COMMIT, "*/objects/batch", "/lfs/*"])
async def test_a_pause_that_the_hub_asks_for_is_shown_and_kept(hub, files, path):
    hub.set_faults([Fault("status", path=path, status=429, retry_after="3600", times=1)])
    progress = Progress()
    work = asyncio.create_task(uploader_of(hub, progress=progress).upload(files))
    while not progress.waits_s and not work.done():
        await asyncio.sleep(0)
    assert (progress.waits_s, "too many requests" in progress.why) == (3600.0, True)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert hub.repo(REPO).log == []


async def test_a_hub_that_never_answers_well_ends_the_upload(hub, files):
    hub.set_faults([Fault("status", path=COMMIT, status=503)])
    with pytest.raises(RemoteError, match="8 tries"):
        await uploader_of(hub).upload(files)
    assert sum(request.path.endswith("/commit/main") for request in hub.requests) == uploading.MAX_TRIES


@pytest.mark.parametrize("status", [401, 403])
async def test_a_hub_that_refuses_the_token_ends_the_upload_at_once(hub, files, status):
    hub.set_faults([Fault("status", path="*/preupload/main", status=status)])
    with pytest.raises(ConfigError, match="token") as refused:
        await uploader_of(hub).upload(files)
    assert "HF_TOKEN" in refused.value.hint
    assert sum("preupload" in request.path for request in hub.requests) == 1


async def test_a_file_that_changed_after_its_check_is_not_committed(hub, files):
    with open(files[2].place, "ab") as file:
        file.write(b"x")
    with pytest.raises(ShardError, match="changed"):
        await uploader_of(hub).upload(files)
    assert hub.repo(REPO).log == []


async def test_the_token_goes_to_the_hub_alone_and_into_no_message(hub, files, caplog):
    hub.set_faults([Fault("status", path="/lfs/*", status=500)])
    with caplog.at_level(logging.DEBUG), pytest.raises(RemoteError) as failed:
        await uploader_of(hub).upload(files)
    assert all(request.has_authorization is False for request in hub.requests if request.origin == "cdn")
    told = caplog.text + repr(failed.value) + str(failed.value.__cause__) + str(failed.value.__context__)
    assert TOKEN not in told
    assert "Signature=" not in told


async def test_every_class_that_a_call_may_end_with_has_a_treatment():
    assert {"connect", "dropped", "timeout", "odd_reply", "url_expired", "remote_changed"} <= set(TREATMENTS)
