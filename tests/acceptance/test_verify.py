"""`asyncdl verify`: what is whole passes, whatever is not is named with its path, and nothing is changed."""

import asyncio
import hashlib
import os
import shutil
import signal
from pathlib import Path

import orjson
import pytest

from asyncdl.cli.verify import exit_code
from asyncdl.engine.checking import UNCHECKED, Report, check
from asyncdl.errors import TransferError
from tests.integration.workers.samples import train_tokenizer
from tests.support.tokenized import edit, rewrite, tokenized, vouch
from workers.contract import ShardChecked

FIRST = "shard_a-0000.parquet"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    return tokenized(folder / "tok-16", train_tokenizer(folder))


@pytest.fixture
def packed(shell, made):
    """A copy of the shards where `run` would put them."""
    place = shell.folder / "datasets" / "tokenized" / "tok-16"
    shutil.copytree(made, place)
    return place


def digests(folder):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def n_bytes(packed):
    return sum(path.stat().st_size for path in packed.rglob("shard_*"))


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("deep", [(), ("--deep",)])
async def test_what_is_whole_passes_and_nothing_is_changed(shell, packed, deep):
    before = digests(shell.folder)
    result = await shell("verify", *deep)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("4 shards, ")
    assert result.out.endswith("KiB: all right\n")
    assert digests(shell.folder) == before


async def test_a_path_is_a_folder_with_a_manifest_the_manifest_or_a_folder_of_such_folders(shell, packed):
    shutil.copytree(packed, packed.with_name("other-16"))
    for paths, n_shards in [
        ((packed,), 4),
        ((packed / "manifest.json",), 4),
        ((packed.parent,), 8),
        (("datasets",), 8),
        ((packed, packed / "manifest.json", packed.parent), 8),
    ]:
        result = await shell("verify", *paths)
        assert (result.code, result.out.partition(" ")[0]) == (0, str(n_shards))


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ((), "enqueue` with --tokenizer and `asyncdl run` make shards"),
        (("nowhere",), "nowhere is not there"),
        (("datasets",), "datasets has no manifest.json"),
    ],
)
async def test_without_a_manifest_it_says_what_next(shell, paths, said):
    (shell.folder / "datasets").mkdir()
    result = await shell("verify", *paths)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert "hint: " in result.err


async def test_a_path_that_cannot_be_looked_at_ends_with_3(shell):
    result = await shell("verify", "x" * 300)
    assert (result.code, result.out) == (3, "")
    assert "cannot be read: File name too long" in result.err


async def test_each_kind_of_damage_is_one_line_with_its_path(shell, packed):
    (packed / "en" / FIRST).unlink()
    flip(packed / "sv" / FIRST)
    second = packed / "en" / "shard_a-0001.parquet"
    os.truncate(second, 100)
    result = await shell("verify")
    lines = result.out.splitlines()
    assert result.code == 6
    assert [line.partition(": ")[0] for line in lines[:-1]] == [
        f"datasets/tokenized/tok-16/{name}" for name in ("en/" + FIRST, "en/shard_a-0001.parquet", "sv/" + FIRST)
    ]
    assert "not there" in lines[0]
    assert "has 100 bytes" in lines[1]
    assert "its sha256 is" in lines[2]
    assert lines[3].startswith("4 shards, ")
    assert lines[3].endswith(": 3 problems")
    assert "asyncdl run makes it anew" in result.err


async def test_json_has_its_keys(shell, packed):
    size_bytes = n_bytes(packed)
    result = await shell("verify", "--json")
    assert result.json() == {
        "schema_version": 1,
        "manifests": ["datasets/tokenized/tok-16/manifest.json"],
        "shards": 4,
        "bytes": size_bytes,
        "problems": [],
        "warnings": [],
        "ok": True,
    }
    flip(packed / "en" / FIRST)
    shutil.copy(packed / "en" / FIRST, packed / "en" / "shard_b-0000.parquet")
    result = await shell("verify", "--json")
    told = result.json()
    assert (result.code, told["ok"], told["shards"], told["bytes"]) == (6, False, 4, size_bytes)
    [problem], [warning] = told["problems"], told["warnings"]
    assert problem["path"] == f"datasets/tokenized/tok-16/en/{FIRST}"
    assert (problem["class"], problem["message"][:13]) == ("shard_differs", "its sha256 is")
    assert warning["path"] == "datasets/tokenized/tok-16/en/shard_b-0000.parquet"
    assert (warning["class"], sorted(warning)) == ("not_in_manifest", ["class", "message", "path"])


async def test_a_shard_that_no_entry_names_is_a_warning(shell, packed):
    shutil.copy(packed / "en" / FIRST, packed / "en" / "shard_b-0000.parquet")
    (packed / "en" / "shard_c-0000.parquet.partial.7-1").touch()  # no reader's glob takes it
    result = await shell("verify")
    assert result.code == 0
    assert result.out.endswith("all right\n")
    [line] = result.err.splitlines()
    assert line.startswith("note: datasets/tokenized/tok-16/en/shard_b-0000.parquet: no entry of the manifest names it")


async def test_what_is_vouched_for_wrongly_is_found_by_deep(shell, packed):
    rewrite(packed / "en" / FIRST, lambda rows: rows[2]["input_ids"].append(1))
    vouch(packed)
    assert (await shell("verify")).code == 0
    result = await shell("verify", "--deep")
    assert result.code == 6
    assert f"en/{FIRST}: sequence 2: input_ids has 17 values, not 16\n" in result.out


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("sequences", "sequences are said to be there"),
        ("shards", "shards are said to be there"),
        ("padding", "of padding make"),
        ("tokens", "of padding make"),
    ],
)
async def test_an_edited_manifest_does_not_add_up(shell, packed, key, said):
    def change(manifest):
        manifest["splits"]["sv"][key] += 1

    edit(packed, change)
    result = await shell("verify")
    assert result.code == 6
    [line, _] = result.out.splitlines()
    assert line.startswith("datasets/tokenized/tok-16/manifest.json: split sv: ")
    assert said in line


async def test_deep_holds_what_it_counted_against_the_manifest(shell, packed):
    """Tokens and padding may be wrong by the same amount, and only who counts them sees it."""

    def change(manifest):
        manifest["splits"]["sv"]["tokens"] += 1
        manifest["splits"]["sv"]["padding"] -= 1

    edit(packed, change)
    assert (await shell("verify")).code == 0
    result = await shell("verify", "--deep")
    assert (result.code, len(result.out.splitlines())) == (6, 3)
    assert "split sv: " in result.out
    assert "tokens are said to be there, and its shards have" in result.out


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "en/../../x"])
async def test_a_manifest_that_leads_out_of_its_folder_is_refused(shell, packed, name):
    edit(packed, lambda manifest: manifest["splits"]["en"].update(path=name))
    result = await shell("verify", "--json")
    assert result.code == 6
    [problem] = result.json()["problems"]
    assert (problem["class"], problem["path"]) == ("unsafe_name", "datasets/tokenized/tok-16/manifest.json")
    assert result.json()["shards"] == 0


@pytest.mark.parametrize("of", ["shard", "split"])
async def test_no_link_is_followed_out_of_the_folder(shell, packed, of):
    """Though what it leads to has the right content."""
    place = packed / "en" / FIRST if of == "shard" else packed / "en"
    outside = shell.folder / "outside"
    place.rename(outside)
    place.symlink_to(outside)
    result = await shell("verify", "--json")
    problems = result.json()["problems"]
    assert result.code == 6
    assert {problem["class"] for problem in problems} == {"unsafe_name"}
    assert len(problems) == (1 if of == "shard" else 2)
    assert result.json()["shards"] == 4 - len(problems)


async def test_a_folder_that_is_itself_reached_by_a_link_is_checked(shell, packed):
    packed.rename(shell.folder / "elsewhere")
    packed.symlink_to(shell.folder / "elsewhere")
    assert (await shell("verify")).code == 0


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"schema_version":2}', b"\xff"])
async def test_a_manifest_that_cannot_be_read_ends_with_3_and_the_others_are_checked(shell, packed, content):
    other = packed.with_name("other-16")
    other.mkdir()
    (other / "manifest.json").write_bytes(content)
    result = await shell("verify")
    assert result.code == 3
    first, last = result.out.splitlines()
    assert first.startswith("datasets/tokenized/other-16/manifest.json: cannot be read as a manifest of shards: ")
    assert last.startswith("4 shards, ")
    assert last.endswith("1 problem")
    flip(packed / "en" / FIRST)
    assert (await shell("verify")).code == 6


async def test_a_folder_in_place_of_a_shard_is_wrong(shell, packed):
    (packed / "en" / FIRST).unlink()
    (packed / "en" / FIRST).mkdir()
    result = await shell("verify")
    assert result.code == 6
    assert "is not a regular file" in result.out


async def test_no_name_steers_the_terminal_nor_breaks_a_line(shell, packed):
    shutil.copy(packed / "en" / FIRST, os.fsencode(packed / "en") + b"/shard_\x1b[2J\n\xff.parquet")
    result = await shell("verify", "--json")
    [warning] = result.json()["warnings"]
    assert warning["path"].endswith(r"shard_\x1b[2J\x0a\udcff.parquet")
    result = await shell("verify")
    assert "\x1b" not in result.err
    assert len(result.err.splitlines()) == 1


def endless(folder):
    """A shard of 8 TiB of nothing: whoever hashes it is not done before the test is."""
    (folder / "s").mkdir(parents=True)
    size_bytes = 1 << 43
    with (folder / "s" / FIRST).open("wb") as file:
        file.truncate(size_bytes)
    gone = {"name": "shard_a-0001.parquet", "size": 1, "sequences": 1, "sha256": "0" * 64}
    shards = [gone, gone | {"name": FIRST, "size": size_bytes}]
    splits = {"s": {"path": "s", "shard_files": shards}}
    (folder / "manifest.json").write_bytes(orjson.dumps({"schema_version": 1, "max_seq_length": 4, "splits": splits}))


async def test_ctrl_c_ends_it_at_once_and_what_was_found_is_told(shell):
    endless(shell.folder / "big")
    process = await shell.start("verify", "big", ASYNCDL_PROCESSES="1")
    assert b"1 of 2 shards" in await process.stderr.readline()  # it says so by itself after five seconds
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert any(is_worker(pid) for pid in children)
    process.send_signal(signal.SIGINT)
    result = await shell.result(process)
    assert result.code == 130
    assert result.out == "big/s/shard_a-0001.parquet: is in the manifest, but not there\n"
    assert "interrupted" in result.err
    assert not any(is_worker(pid) for pid in children)


def is_worker(pid):
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


async def test_on_a_terminal_progress_is_redrawn_and_gone_at_the_end(shell, packed):
    shown = await shell.on_terminal("verify", TERM="xterm")
    assert "checked 0 of" in shown
    assert shown.rstrip().endswith("all right")


class ScriptedPool:
    """Does every task as told, two at a time, and counts how many are under way."""

    n_processes = 2

    def __init__(self, outcome):
        self.outcome = outcome
        self.n_running = self.most = 0

    async def run(self, task, *, timeout_s):
        assert timeout_s > 0
        self.n_running += 1
        self.most = max(self.most, self.n_running)
        await asyncio.sleep(0)  # lets the others begin
        self.n_running -= 1
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


async def test_no_more_tasks_are_under_way_than_there_are_children(packed):
    """A manifest of a million shards is not a million tasks."""
    pool, report = ScriptedPool(ShardChecked()), Report()
    await check([packed / "manifest.json"], pool, report, deep=False)
    assert (pool.most, report.n_shards_done, report.problems) == (2, 4, [])


@pytest.mark.parametrize("error_class", sorted(UNCHECKED - {"unreadable"}))
async def test_what_could_not_be_looked_at_is_not_called_wrong(packed, error_class):
    """No rights, a disk that fails, a child that was killed: 3, unless something is proven wrong as well."""
    error = TransferError(error_class, "PermissionError: no")
    report = Report()
    await check([packed / "manifest.json"], ScriptedPool(error), report, deep=True)
    assert {(one.error_class, one.message) for one in report.problems} == {
        (error_class, "could not be checked: PermissionError: no")
    }
    assert exit_code(report) == 3
    report.problem(packed, "shard_differs", "is other")
    assert exit_code(report) == 6
