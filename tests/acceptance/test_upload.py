"""`asyncdl upload` as its users have it: folders go up, and come back as they were by huggingface_hub and datasets."""

import asyncio
import json
import os
import shutil
import sys

import huggingface_hub
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asyncdl.demo.faults import Fault
from asyncdl.demo.hub import DemoHub
from asyncdl.demo.repos import Repo
from tests.support.packed import packed
from tests.support.uploads import REPO, TOKEN, assert_nothing_came_twice, held, n_writes, under

SPLITS = {"org--set--train": [[3, 2], [4]], "org--set--test": [[2]]}


@pytest.fixture
async def hub(shell):
    async with DemoHub([], token=TOKEN, part_bytes=1000) as running:
        shell.env |= {"HF_ENDPOINT": running.endpoint, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        yield running


@pytest.fixture
def folder(tmp_path):
    made = packed(tmp_path / "tokenized" / "tok-4", SPLITS)
    (made / "org--set--train" / "stats.json").write_text('{"documents": 5}')
    return made


async def came_back(hub, tmp_path, token=TOKEN):
    api = huggingface_hub.HfApi(endpoint=hub.endpoint, token=token)
    options = {"repo_type": "dataset", "local_dir": tmp_path / "back"}
    huggingface_hub.utils.disable_progress_bars()
    await asyncio.to_thread(lambda: api.snapshot_download(REPO, **options))
    shutil.rmtree(tmp_path / "back" / ".cache")
    return under(tmp_path / "back")


async def loaded(shell, config, split):
    """What load_dataset makes of the repo, in a process of its own."""
    code = (
        "import datasets, json, sys\n"
        f"found = datasets.load_dataset({REPO!r}, {config!r}, split={split!r})\n"
        "json.dump([found.to_dict(), str(found.features)], sys.stdout)"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env=shell.env | {"HF_HOME": str(shell.folder / "hf")}, stdout=asyncio.subprocess.PIPE
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(out)


async def test_a_tokenized_folder_comes_back_as_it_was_and_loads(shell, hub, folder, tmp_path):
    done = await shell("upload", folder, REPO)
    assert (done.code, done.out.count("\n")) == (0, 1), done.err
    assert "6 files" in done.out
    assert "in 1 commit, 0 there already" in done.out
    back = await came_back(hub, tmp_path)
    assert {path: sha256 for path, sha256 in back.items() if path not in ("README.md", ".gitattributes")} == under(
        folder
    )
    rows, features = await loaded(shell, "org--set--train", "train")
    assert len(rows["input_ids"]) == 9
    assert rows["input_ids"][0] == [0, 1, 2, 3]
    assert "List(Value('int32'))" in features
    rows, _ = await loaded(shell, "org--set--test", "test")
    assert len(rows["input_ids"]) == 2


async def test_a_second_run_makes_no_request_that_writes(shell, hub, folder):
    assert (await shell("upload", folder, REPO)).code == 0
    before, n_seen = n_writes(hub), len(hub.requests)
    again = await shell("upload", folder, REPO)
    assert (again.code, again.out) == (0, f"5 files there already, nothing to upload: {hub.endpoint}/datasets/{REPO}\n")
    assert (n_writes(hub), len(hub.requests) - n_seen) == (before, 3)


async def test_a_grown_folder_adds_what_is_new_and_leaves_the_card_alone(shell, hub, folder, tmp_path):
    assert (await shell("upload", folder, REPO)).code == 0
    card = held(hub)["README.md"]
    shutil.rmtree(folder)
    packed(folder, SPLITS | {"org--set--more": [[5]]})
    done = await shell("upload", folder, REPO, "--json")
    found = done.json()
    assert (found["uploaded"], found["same"], found["commits"], found["created"]) == (2, 3, 1, False)
    assert held(hub)["README.md"] == card
    _, _, paths = hub.repo(REPO).log[-1]
    assert set(paths) == {"org--set--more/shard_a-0000.parquet", "manifest.json"}
    assert found["commit"] == hub.repo(REPO).main.sha


async def test_a_card_that_a_person_wrote_stays(shell, hub, folder):
    await shell("upload", folder, REPO)
    hub.push(REPO, {"README.md": b"# mine"})
    assert (await shell("upload", folder, REPO)).code == 0
    assert hub.repo(REPO).main.content("README.md").read() == b"# mine"
    hub.push(REPO, {".gitattributes": b""})
    (folder / "README.md").write_bytes(b"# of this folder")
    assert (await shell("upload", folder, REPO)).code == 0
    assert hub.repo(REPO).main.content("README.md").read() == b"# of this folder"


async def test_a_dry_run_lists_and_changes_nothing(shell, hub, folder):
    done = await shell("upload", folder, REPO, "--dry-run")
    assert (done.code, n_writes(hub)) == (0, 0)
    assert done.out.splitlines()[0].startswith("new      README.md")
    assert "which would be made" in done.out
    await shell("upload", folder, REPO)
    other = "org--set--test/shard_a-0000.parquet"
    hub.push(REPO, {other: b"other", "README.md": b""})
    before = n_writes(hub)
    found = (await shell("upload", folder, REPO, "--dry-run", "--json")).json()
    states = {file["path"]: file["state"] for file in found["files"]}
    assert (found["dry_run"], n_writes(hub)) == (True, before)
    assert (states[other], states["manifest.json"], len(states)) == ("differs", "new", 5)


async def test_a_new_branch_begins_with_what_main_holds(shell, hub, folder):
    await shell("upload", folder, REPO)
    other = "org--set--test/shard_a-0000.parquet"
    assert (await shell("upload", folder, REPO, "--revision", "same", "--json")).json()["uploaded"] == 0
    assert held(hub, branch="same") == held(hub)
    hub.push(REPO, hub.repo(REPO).main.files | {other: b"other"})
    before = n_writes(hub)
    assert (await shell("upload", folder, REPO, "--revision", "next")).code == 2
    assert n_writes(hub) == before


async def test_what_somebody_else_uploads_during_the_check_is_not_replaced(shell, hub, folder):
    await shell("upload", folder, REPO)
    made, other = dict(hub.repo(REPO).main.files), "org--set--test/shard_a-0000.parquet"
    hub.push(REPO, {path: content for path, content in made.items() if path != other})
    listed = asyncio.Event()
    sent, journal = hub._state.journal.sent, hub._state.journal

    def tell(record, n_bytes):
        sent(record, n_bytes)
        if "/tree/" in record.url and not listed.is_set():
            listed.set()
            hub.push(REPO, made | {other: b"of somebody else"})

    journal.sent = tell
    refused = await shell("upload", folder, REPO)
    assert (refused.code, listed.is_set(), "somebody else" in refused.err) == (2, True, True), refused.err
    assert hub.repo(REPO).main.content(other).read() == b"of somebody else"


async def test_other_bytes_in_the_repo_are_replaced_only_on_demand(shell, hub, folder):
    await shell("upload", folder, REPO)
    other = "org--set--test/shard_a-0000.parquet"
    hub.push(REPO, hub.repo(REPO).main.files | {other: b"other"})
    before = n_writes(hub)
    refused = await shell("upload", folder, REPO)
    assert (refused.code, n_writes(hub)) == (2, before)
    assert "--replace" in refused.err
    assert other in refused.err
    assert (await shell("upload", folder, REPO, "--replace")).code == 0
    assert {path: sha256 for path, sha256 in held(hub).items() if path != "README.md"} == under(folder)


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
async def test_a_shard_that_differs_from_its_manifest_is_refused_before_anything_is_written(shell, hub, folder, damage):
    shard = folder / "org--set--test" / "shard_a-0000.parquet"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    match damage:
        case "flip":
            shard.write_bytes(content)
        case "cut":
            shard.write_bytes(content[:-1])
        case "remove":
            shard.unlink()
    refused = await shell("upload", folder, REPO)
    assert (refused.code, n_writes(hub)) == (6, 0), refused.err
    assert "shard_a-0000.parquet" in refused.err


async def test_a_folder_of_parquet_files_goes_up_below_a_folder_of_a_branch(shell, hub, tmp_path):
    place = tmp_path / "plain"
    for name, values in {"train/a": [1], "train/b": [2, 3], "test/a": [4]}.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"n": values, "t": [["x"]] * len(values)}), place / f"{name}.parquet")
    (place / ".hidden").mkdir()
    (place / ".hidden" / "c.parquet").write_bytes(b"")
    (place / "notes.txt").write_text("not for the Hub")
    done = await shell("upload", place, REPO, "--path-in-repo", "v1/", "--revision", "next", "--private")
    assert done.code == 0, done.err
    there = held(hub, branch="next")
    assert {path for path in there if path != "README.md"} == {
        f"v1/{n}.parquet" for n in ("train/a", "train/b", "test/a")
    }
    assert hub.repo(REPO).private
    assert set(held(hub)) == set()
    hub.push(REPO, hub.repo(REPO).revision("next").files)
    rows, _ = await loaded(shell, "train", "train")
    assert rows == {"n": [1, 2, 3], "t": [["x"]] * 3}
    alone = await shell("upload", place / "test" / "a.parquet", "org/other", "--json")
    assert [file["path"] for file in alone.json()["files"]] == ["README.md", "a.parquet"]


async def test_what_is_no_parquet_is_refused(shell, hub, tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "a.parquet").write_bytes(b"<html>")
    refused = await shell("upload", tmp_path / "plain", REPO)
    assert (refused.code, n_writes(hub)) == (6, 0)
    assert "a.parquet" in refused.err


async def test_without_a_token_it_says_which_variable_and_asks_nobody(shell, hub, folder):
    refused = await shell("upload", folder, REPO, HF_TOKEN="")
    assert (refused.code, len(hub.requests)) == (3, 0)
    assert "HF_TOKEN" in refused.err


async def test_a_token_that_is_wrong_or_may_only_read_ends_it_before_anything_starts(shell, hub, folder):
    refused = await shell("upload", folder, REPO, HF_TOKEN="hf_wrongTOKEN")
    assert (refused.code, len(hub.requests)) == (3, 1)
    assert "HF_TOKEN" in refused.err
    assert "hf_wrongTOKEN" not in refused.err + refused.out
    async with DemoHub([], token=TOKEN, role="read") as reading:
        refused = await shell("upload", folder, REPO, HF_ENDPOINT=reading.endpoint)
        assert (refused.code, len(reading.requests)) == (3, 1)
    assert "may only read" in refused.err


async def test_offline_mode_is_heeded(shell, hub, folder):
    refused = await shell("upload", folder, REPO, HF_HUB_OFFLINE="1")
    assert (refused.code, len(hub.requests)) == (3, 0)
    assert "HF_HUB_OFFLINE" in refused.err


async def test_the_token_of_the_token_file_serves_too_and_shows_nowhere(shell, hub, folder):
    (shell.folder / "token").write_text(TOKEN)
    hub.set_faults([Fault("status", path="*/commit/main", status=400)])
    refused = await shell(
        "upload", folder, REPO, "--log-level", "debug", HF_TOKEN="", HF_TOKEN_PATH=shell.folder / "token"
    )
    assert refused.code == 5, refused.err
    assert TOKEN not in refused.err + refused.out
    assert "Signature=" not in refused.err


async def test_a_public_repo_is_not_taken_for_a_private_one(shell, hub, folder):
    await shell("upload", folder, REPO)
    before = n_writes(hub)
    refused = await shell("upload", folder, REPO, "--private")
    assert (refused.code, n_writes(hub)) == (2, before)
    assert "public" in refused.err


async def test_a_file_that_a_gitignore_names_is_missed_at_the_end(shell, hub, folder):
    await shell("upload", folder, "org/first")
    hub.ignore("org--set--test/shard_a-0000.parquet")
    missed = await shell("upload", folder, REPO)
    assert missed.code == 5
    assert "org--set--test/shard_a-0000.parquet" in missed.err
    assert ".gitignore" in missed.err


async def test_a_hub_without_xet_is_told_with_what_helps(shell, hub, folder):
    refused = await shell("upload", folder, REPO, HF_HUB_DISABLE_XET="0")
    assert refused.code == 5
    assert "HF_HUB_DISABLE_XET=1" in refused.err
    assert sum("xet-write-token" in request.path for request in hub.requests) == 1


async def test_a_hub_that_is_not_there_is_5(shell, folder):
    gone = await shell("upload", folder, REPO, HF_TOKEN=TOKEN)
    assert gone.code == 5


@pytest.mark.parametrize(
    "args", [("{folder}", "no-repo"), ("nowhere", REPO), ("{folder}", REPO, "--path-in-repo", "../x")]
)
async def test_a_wrong_command_line_is_2(shell, hub, folder, args):
    refused = await shell("upload", *(arg.format(folder=folder) for arg in args))
    assert (refused.code, len(hub.requests)) == (2, 0)


async def test_ctrl_c_ends_it_at_once_while_a_file_is_on_its_way(shell, hub, folder, tmp_path):
    hub.set_faults([Fault("stall", path="/api/complete_multipart/*", times=1)])
    process = await shell.start("upload", folder, REPO)
    await struck(hub, "stall")
    process.send_signal(2)
    ended = await shell.result(process)
    assert (ended.code, "goes on from here" in ended.err) == (130, True)
    hub.set_faults([])
    assert (await shell("upload", folder, REPO)).code == 0
    assert_nothing_came_twice(hub)


async def struck(hub, kind):
    """Return when a fault of that kind has struck."""
    happened = asyncio.Event()
    journal, told = hub._state.journal, hub._state.journal.struck
    journal.struck = lambda record, name: (told(record, name), happened.set() if name == kind else None)
    await happened.wait()
    del journal.struck


async def test_it_shows_how_far_it_is_on_a_terminal(shell, hub, folder):
    shown = await shell.on_terminal("upload", folder, REPO)
    assert "uploaded" in shown
    assert "committed" in shown


async def test_the_manifest_may_stand_for_its_folder(shell, hub, folder):
    found = (await shell("upload", folder / "manifest.json", REPO, "--dry-run", "--json")).json()
    assert len(found["files"]) == 6


async def test_a_manifest_that_names_files_elsewhere_is_refused(shell, hub, folder):
    document = orjson.loads((folder / "manifest.json").read_bytes())
    document["splits"]["org--set--test"]["path"] = "../../etc"
    (folder / "manifest.json").write_bytes(orjson.dumps(document))
    refused = await shell("upload", folder, REPO)
    assert (refused.code, n_writes(hub)) == (6, 0), refused.err


async def test_a_symbolic_link_out_of_the_folder_is_refused(shell, hub, folder, tmp_path):
    shard = folder / "org--set--test" / "shard_a-0000.parquet"
    os.rename(shard, tmp_path / "elsewhere.parquet")
    os.symlink(tmp_path / "elsewhere.parquet", shard)
    refused = await shell("upload", folder, REPO)
    assert (refused.code, n_writes(hub)) == (6, 0), refused.err


async def test_a_repo_of_others_is_refused(shell, folder):
    async with DemoHub([Repo(REPO, {}, private=True, granted=False)], token=TOKEN) as closed:
        refused = await shell(
            "upload", folder, REPO, HF_ENDPOINT=closed.endpoint, HF_TOKEN=TOKEN, HF_HUB_DISABLE_XET="1"
        )
    assert refused.code == 3, refused.err
