"""The manifests say what the queue says, in the form that other programs read."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from asyncdl.core.model import NewJob
from asyncdl.core.names import split_name
from asyncdl.engine.manifests import write_manifests
from asyncdl.errors import ConfigError
from tests.integration.store.rig import DIGEST, NOW, Rig, recipe

ROOT = Path(__file__).parents[3]
DOWNLOADED = {"checks": ["size", "digest"], "sha256": "ee" * 32, "adopted": False}
VERIFIED = {"checks": ["size", "magic", "footer"], "n_rows": 3, "n_row_groups": 1}
SPLIT = split_name("org/name", "s")


def shard(n: int, n_sequences: int) -> dict[str, object]:
    return {"name": f"shard_{n}-0000.parquet", "n_sequences": n_sequences, "size_bytes": 10 * n, "sha256": f"{n:064x}"}


def tokenized(n: int, n_sequences: int) -> dict[str, object]:
    return {
        "shards": [shard(n, n_sequences)], "n_documents": 7, "n_tokens": n_sequences * 1024 - 24, "n_padding": 24,
        "n_dropped": 0, "text_bytes": 99, "backend": "fast",
    }  # fmt: skip


def files_of(data_dir: Path) -> list[dict[str, object]]:
    manifest = json.loads((data_dir / "download_manifest.json").read_text())
    assert manifest["schema_version"] == 1
    assert manifest["generated_at"] > 0
    return manifest["files"]


def tokenized_of(data_dir: Path, name: str = "tok-1024") -> dict:
    return json.loads((data_dir / "tokenized" / name / "manifest.json").read_text())


async def settle(rig: Rig, kind: str, n: int, result: dict[str, object], children=(), now: float = NOW) -> None:
    for job in await rig.take(n, kind=kind, now=now):
        await rig.jobs().complete(job, now=now, size_bytes=100, result=result, children=children or ())


async def tokenize_all(
    rig: Rig, *, n: int = 1, revision: str = "a" * 40, now: float = NOW, n_sequences: int = 5
) -> None:
    """Bring `s/1.parquet` ... through all stages."""
    paths = [f"s/{k}.parquet" for k in range(1, n + 1)]
    await rig.put(paths, revision=revision, now=now)
    for job in await rig.take(n, now=now):
        await rig.finish(job, now=now, result=DOWNLOADED)
    await settle(rig, "verify", n, VERIFIED, now=now)
    await rig.put(paths, missing=False, tokenize=recipe(), revision=revision, now=now)
    for k, job in enumerate(await rig.take(n, kind="tokenize", now=now), 1):
        await rig.jobs().complete(job, now=now, size_bytes=100, result=tokenized(k, n_sequences), children=())


async def test_every_state_of_a_file_is_told(rig, tmp_path):
    await rig.put(["s/1.parquet", "s/2.parquet", "s/3.parquet", "s/4.parquet", "s/5.parquet", "s/6.parquet"])
    done, refused, mismatched, gone, running, waiting = await rig.take(6)
    for job in (done, refused):
        await rig.finish(job, result=DOWNLOADED)
    await rig.jobs().discard(mismatched, now=NOW, error_class="digest_mismatch", error_text="x")
    await rig.jobs().discard(gone, now=NOW, error_class="gone", error_text="x")
    await rig.jobs().change_state("cancel", [waiting.id], now=NOW)
    for job in await rig.take(2, kind="verify"):
        if job.path == done.path:
            await rig.jobs().complete(job, now=NOW, size_bytes=100, result=VERIFIED, children=())
        else:
            await rig.jobs().discard(job, now=NOW, error_class="bad_pages", error_text="x")
    write_manifests(rig.path, tmp_path)
    files = files_of(tmp_path)
    assert files[0] == {
        "dataset": "org/name", "revision": "a" * 40, "path": "s/1.parquet", "local_path": "raw/org--name/s/1.parquet",
        "size": 100, "sha256": "ee" * 32, "state": "completed", "verified": "size+digest+magic+footer",
    }  # fmt: skip
    assert [(file["path"], file["state"]) for file in files[1:]] == [
        (refused.path, "corrupted"), (mismatched.path, "corrupted"), (gone.path, "discarded"), (running.path, "running"),
    ]  # fmt: skip
    assert {file["verified"] for file in files[1:]} == {""}
    assert files[4]["sha256"] == DIGEST.hex, "what the source promises, until it is found"


async def test_a_file_that_vanished_is_not_called_corrupted(rig, tmp_path):
    await rig.put(["s/1.parquet"])
    [job] = await rig.take()
    await rig.finish(job, result=DOWNLOADED)
    [verify] = await rig.take(kind="verify")
    await rig.jobs().discard(verify, now=NOW, error_class="missing_file", error_text="x")
    write_manifests(rig.path, tmp_path)
    assert [file["state"] for file in files_of(tmp_path)] == ["completed"]


async def test_an_empty_queue_has_an_empty_manifest_and_no_tokenized_one(rig, tmp_path):
    await rig.put([], tokenize=recipe())
    write_manifests(rig.path, tmp_path / "data")
    assert files_of(tmp_path / "data") == []
    assert [file.name for file in (tmp_path / "data").iterdir()] == ["download_manifest.json"]


async def test_of_two_completed_revisions_the_later_one_is_on_disk(rig, tmp_path):
    await tokenize_all(rig, revision="a" * 40, now=NOW, n_sequences=5)
    await tokenize_all(rig, revision="b" * 40, now=NOW + 1, n_sequences=9)
    write_manifests(rig.path, tmp_path)
    assert [file["revision"] for file in files_of(tmp_path)] == ["b" * 40]
    split = tokenized_of(tmp_path)["splits"][SPLIT]
    assert (split["shards"], split["sequences"]) == (1, 9)
    assert [source["revision"] for source in split["sources"]] == ["b" * 40]


async def test_a_newer_revision_that_is_not_completed_hides_nothing(rig, tmp_path):
    await tokenize_all(rig, revision="a" * 40)
    await rig.put(["s/1.parquet"], revision="b" * 40, now=NOW + 1)
    write_manifests(rig.path, tmp_path)
    assert [(file["revision"][0], file["state"]) for file in files_of(tmp_path)] == [
        ("a", "completed"), ("b", "available"),
    ]  # fmt: skip
    assert tokenized_of(tmp_path)["splits"][SPLIT]["sequences"] == 5


async def test_the_tokenized_manifest_holds_the_seeds_fields_and_ours(rig, tmp_path):
    await tokenize_all(rig, n=2)
    write_manifests(rig.path, tmp_path)
    manifest = tokenized_of(tmp_path)
    splits = manifest.pop("splits")
    assert manifest == {
        "schema_version": 1, "tokenizer": "tok", "tokenizer_sha256": "cd" * 32, "max_seq_length": 1024,
        "shard_size_gb": 2.0, "labels": "shifted", "eos_id": 2, "vocab_size": None, "options": {}, "backend": "fast",
        "input_path": "../../raw", "output_path": ".", "files_processed": 2,
    }  # fmt: skip
    source = {"dataset": "org/name", "revision": "a" * 40, "sha256": "ee" * 32}
    assert splits == {
        SPLIT: {
            "path": SPLIT, "shards": 2, "sequences": 10, "samples": 14, "tokens": 2 * (5 * 1024 - 24), "padding": 48,
            "dropped": 0,
            "shard_files": [
                {"name": f"shard_{n}-0000.parquet", "sequences": 5, "size": 10 * n, "sha256": f"{n:064x}"} for n in (1, 2)
            ],
            "sources": [source | {"path": "s/1.parquet"}, source | {"path": "s/2.parquet"}],
        }
    }  # fmt: skip


async def test_a_second_run_writes_nothing_new(rig, tmp_path):
    await tokenize_all(rig, n=2)
    write_manifests(rig.path, tmp_path)
    paths = [tmp_path / "download_manifest.json", tmp_path / "tokenized" / "tok-1024" / "manifest.json"]
    before = [(path.stat().st_ino, path.read_bytes()) for path in paths]
    write_manifests(rig.path, tmp_path)
    assert [(path.stat().st_ino, path.read_bytes()) for path in paths] == before
    await tokenize_all(rig, n=3)
    write_manifests(rig.path, tmp_path)
    assert all(path.read_bytes() != content for path, (_, content) in zip(paths, before, strict=True))


async def test_each_recipe_has_its_own_manifest_over_all_datasets(rig, tmp_path):
    await rig.put(["s/1.parquet", "t/2.parquet"], tokenize=recipe("small-8"))
    for job in await rig.take(2):
        await rig.finish(job, result=DOWNLOADED)
    for job in await rig.take(2, kind="verify"):
        await rig.jobs().complete(job, now=NOW, size_bytes=100, result=VERIFIED, children=())
    await rig.put(["s/1.parquet", "t/2.parquet"], missing=False, tokenize=recipe("small-8"))
    await rig.put(["s/1.parquet"], missing=False, tokenize=recipe("large-8"))
    for k, job in enumerate(await rig.take(9, kind="tokenize")):
        await rig.jobs().complete(job, now=NOW, size_bytes=1, result=tokenized(k, 5), children=())
    write_manifests(rig.path, tmp_path)
    assert list(tokenized_of(tmp_path, "small-8")["splits"]) == [
        split_name("org/name", "s"),
        split_name("org/name", "t"),
    ]
    assert list(tokenized_of(tmp_path, "large-8")["splits"]) == [split_name("org/name", "s")]


async def test_the_seeds_reader_finds_every_shard(rig, tmp_path):
    """Its rules: resolve `path` below the manifest's folder, glob shard_*.parquet, compare the counts."""
    await tokenize_all(rig, n=3)
    write_manifests(rig.path, tmp_path)
    data_path = tmp_path / "tokenized" / "tok-1024"
    for split in tokenized_of(tmp_path)["splits"].values():
        folder = data_path / split["path"]
        assert not Path(split["path"]).is_absolute()
        folder.mkdir(parents=True)
        for file in split["shard_files"]:
            (folder / file["name"]).touch()
        found = sorted(path.name for path in folder.glob("shard_*.parquet"))
        assert found == sorted(file["name"] for file in split["shard_files"])
        assert len(found) == split["shards"]
        assert sum(file["sequences"] for file in split["shard_files"]) == split["sequences"] > 0


async def test_a_failed_write_leaves_the_old_manifest(rig, tmp_path):
    await rig.put(["s/1.parquet"])
    write_manifests(rig.path, tmp_path)
    before = (tmp_path / "download_manifest.json").read_bytes()
    await rig.put(["s/2.parquet"])
    (tmp_path / "download_manifest.json.partial").mkdir()
    with pytest.raises(ConfigError, match="manifests cannot be written"):
        write_manifests(rig.path, tmp_path)
    assert (tmp_path / "download_manifest.json").read_bytes() == before


KILLED = """
import os, pathlib, signal, sys
from asyncdl.engine import json_file, manifests
json_file._says_the_same = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
manifests.write_manifests(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
"""


async def test_a_killed_write_leaves_the_old_manifest_and_does_not_hinder_the_next(rig, tmp_path):
    await rig.put(["s/1.parquet"])
    write_manifests(rig.path, tmp_path)
    await rig.put(["s/2.parquet"])
    subprocess.run([sys.executable, "-c", KILLED, str(rig.path), str(tmp_path)], check=False, cwd=ROOT)
    assert [file["path"] for file in files_of(tmp_path)] == ["s/1.parquet"]
    assert (tmp_path / "download_manifest.json.partial").exists()
    write_manifests(rig.path, tmp_path)
    assert [file["path"] for file in files_of(tmp_path)] == ["s/1.parquet", "s/2.parquet"]
    assert not (tmp_path / "download_manifest.json.partial").exists()


MANY = r"""
import pathlib, re, sys
from asyncdl.engine.manifests import write_manifests
write_manifests(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
print(int(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) * 1024)
"""


def peak_bytes(queue: Path, data_dir: Path) -> int:
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(queue), str(data_dir)], check=True, cwd=ROOT, stdout=subprocess.PIPE
    )
    return int(done.stdout)


async def test_memory_does_not_grow_with_the_number_of_files(rig, tmp_path):
    await tokenize_all(rig, n=1)
    few = peak_bytes(rig.path, tmp_path / "few")
    await rig.put([f"s/{n:06d}.parquet" for n in range(60_000)])
    rig.connection.execute(
        """UPDATE job SET state = 'running', owner = 'me', lease_until = 1 WHERE state = 'available';
        UPDATE job SET state = 'completed', owner = NULL, lease_until = NULL, ended_at = 1,
          result = (SELECT result FROM job WHERE result IS NOT NULL AND kind = 'download') WHERE state = 'running';
        INSERT INTO job (dataset_id, kind, path, recipe_id, state, run_at, created_at, ended_at, result)
          SELECT dataset_id, 'tokenize', path, 1, 'completed', 1, 1, 1, (SELECT result FROM job WHERE kind = 'tokenize')
          FROM job WHERE kind = 'download' ON CONFLICT DO NOTHING"""
    )
    many = peak_bytes(rig.path, tmp_path / "many")
    assert len(files_of(tmp_path / "many")) == 60_001
    assert tokenized_of(tmp_path / "many")["files_processed"] == 60_001
    assert many - few < 12e6, "60 000 files of 400 bytes each would be 24 MB as bytes alone"


def in_parts(n):
    return VERIFIED | {"parts": [[k, k + 1] for k in range(n)]}


async def test_a_file_in_parts_is_one_source_and_its_lines_are_counted_through(rig, tmp_path):
    await rig.put(["s/1.jsonl"], tokenize=recipe())
    [job] = await rig.take()
    await rig.finish(job, result=DOWNLOADED)
    [verify] = await rig.take(kind="verify")
    child = NewJob(verify.dataset_id, "tokenize", verify.path, None, 100, None)
    await rig.jobs().complete(verify, now=NOW, size_bytes=100, result=in_parts(2), children=(child,))
    bad = {"source_id": "x", "line": 3, "at": 9, "error_class": "not_json", "message": "m"}
    for job in await rig.take(9, kind="tokenize"):
        more = {"n_lines": 10, "n_bad": [["not_json", 1]], "bad_lines": [bad], "histogram": [0, 2, 5], "cpu_s": 2.0}
        await rig.jobs().complete(job, now=NOW, size_bytes=1, result=tokenized(job.part, 5) | more, children=())
    (tmp_path / "tokenized" / "tok-1024" / SPLIT).mkdir(parents=True)
    write_manifests(rig.path, tmp_path)
    split = tokenized_of(tmp_path)["splits"][SPLIT]
    assert (split["shards"], split["sequences"], len(split["sources"])) == (2, 10, 1)
    stats = json.loads((tmp_path / "tokenized" / "tok-1024" / SPLIT / "stats.json").read_text())
    assert stats["files"] == 1
    assert stats["skipped_lines"]["by_class"] == {"not_json": 2}
    assert [place["line"] for place in stats["skipped_lines"]["first"]] == [3, None]
    assert stats["document_tokens"] == [
        {"from": 1, "below": 2, "documents": 4},
        {"from": 2, "below": 4, "documents": 10},
    ]
    assert (stats["lines"], stats["cpu_s"], stats["text_bytes"]) == (20, 4.0, 198)


async def test_splits_that_another_queue_has_made_stay_in_the_manifest(rig, tmp_path):
    await tokenize_all(rig)
    write_manifests(rig.path, tmp_path)
    place = tmp_path / "tokenized" / "tok-1024" / "manifest.json"
    theirs = json.loads(place.read_text())
    theirs["splits"] = {"theirs": theirs["splits"][SPLIT] | {"path": "theirs"}, SPLIT: {"path": "old"}}
    place.write_text(json.dumps(theirs))
    write_manifests(rig.path, tmp_path)
    splits = tokenized_of(tmp_path)["splits"]
    assert list(splits) == [SPLIT, "theirs"]
    assert splits["theirs"] == theirs["splits"]["theirs"]
    assert splits[SPLIT]["sequences"] == 5, "one's own is as the queue says"


@pytest.mark.parametrize("change", [{"tokenizer_sha256": "other"}, {"labels": "hf"}, {"options": {"drop_last": True}}])
async def test_a_manifest_of_other_shards_is_not_written_over(rig, tmp_path, change):
    await tokenize_all(rig)
    place = tmp_path / "tokenized" / "tok-1024" / "manifest.json"
    place.parent.mkdir(parents=True)
    theirs = {"tokenizer_sha256": "cd" * 32, "max_seq_length": 1024, "labels": "shifted", "splits": {"theirs": {}}}
    place.write_text(json.dumps(theirs | change))
    with pytest.raises(ConfigError, match="made in another way"):
        write_manifests(rig.path, tmp_path)
    assert json.loads(place.read_text()) == theirs | change
