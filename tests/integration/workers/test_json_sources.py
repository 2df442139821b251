"""JSON lines, plain and compressed: what is a document, what is a bad line, and what is refused by which name."""

import errno
import gzip
import json
import os
import random
import subprocess
import tempfile

import pyarrow as pa
import pytest

from tests.integration.workers.samples import TEXTS, tokenize_task, write_texts
from workers import lines, streams, text
from workers.batch import Counts
from workers.contract import BAD_LINES, Source
from workers.entry import run

LONG = "\n".join(TEXTS[:10] * 400)  # some 350 kB


def line_of(text, **others):
    return json.dumps({"id": 7, "text": text, **others}, ensure_ascii=False).encode() + b"\n"


GOOD = b"".join(map(line_of, TEXTS))
ENDINGS = [".jsonl", ".ndjson", ".JSONL", ".jsonl.gz", ".ndjson.gz", ".json.gz", ".jsonl.zst", ".ndjson.zst", ".json.zst"]  # fmt: skip


def packed(content, ending):
    if ending.endswith(".gz"):
        return gzip.compress(content, mtime=0)
    if ending.endswith(".zst"):
        return pa.Codec("zstd").compress(content, asbytes=True)
    return content


@pytest.fixture
def make(tmp_path, tokenizer_folder):
    def make(content, name="a.jsonl", **options):
        source = tmp_path / name
        source.write_bytes(packed(content, name))
        return tokenize_task(source, tokenizer_folder, tmp_path / "out", **options)

    return make


def shards_of(outcome):
    return [(shard.name, shard.sha256) for shard in outcome.shards]


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_same_documents_make_the_same_shards_whatever_they_lie_in(make, tmp_path, tokenizer_folder, ending):
    parquet = tokenize_task(write_texts(tmp_path / "a.parquet", TEXTS), tokenizer_folder, tmp_path / "other")
    expected, outcome = run(parquet), run(make(GOOD, f"a{ending}"))
    assert shards_of(outcome) == shards_of(expected)
    assert (outcome.n_documents, outcome.n_tokens, outcome.text_bytes) == (expected.n_documents, expected.n_tokens, expected.text_bytes)  # fmt: skip
    assert (outcome.n_lines, outcome.n_bad, outcome.bad_lines) == (len(TEXTS), (), ())


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + GOOD,
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.removesuffix(b"\n"),
        b"\n \r\n" + GOOD.replace(b"\n", b"\n\n\t\n"),
        b"".join(json.dumps({"text": text}).encode() + b"\n" for text in TEXTS),
        b"".join(line_of(text, meta={"text": 1}, n=[1.5e3, None]) for text in TEXTS),
    ],
    ids=["byte order mark", "CRLF", "no last newline", "blank lines", "escapes", "other fields"],
)
def test_how_lines_are_written_makes_no_difference(make, content):
    outcome = run(make(content))
    assert shards_of(outcome) == shards_of(run(make(GOOD)))
    assert (outcome.n_lines, outcome.n_bad) == (len(TEXTS), ())


BAD = {
    b'{"text": "a"': "not_json",
    b'{"text": "a"} {"text": "b"}': "not_json",
    b'{"text": "a\x01"}': "not_json",
    b'["text"]': "not_an_object",
    b'"text"': "not_an_object",
    b"null": "not_an_object",
    b'{"body": "a"}': "missing_field",
    b'{"text": null}': "missing_field",
    b'{"text": 1}': "not_a_string",
    b'{"text": ["a"]}': "not_a_string",
    b'{"text": "a\xff"}': "not_utf8",
    b'{"text": "a", "b": "\xc3"}': "not_utf8",
    b'{"text": "\\ud83d"}': "not_utf8",
    b'{"text": "\\ude00\\ud83d"}': "not_utf8",
}


def test_every_class_of_bad_line_is_among_these():
    assert set(BAD.values()) == set(BAD_LINES)


@pytest.mark.parametrize("line", BAD)
@pytest.mark.parametrize("line_bytes", [1 << 20, 5])
def test_a_bad_line_is_skipped_counted_and_told_with_its_place(make, monkeypatch, line, line_bytes):
    """`line_bytes`: parsed at once, or as a line too long for that."""
    monkeypatch.setattr(lines, "_LINE_BYTES", line_bytes)
    monkeypatch.setattr(streams, "BLOCK_BYTES", 64)
    outcome = run(make(b"\n" + GOOD + line + b"\n" + GOOD, max_bad_share=0.5))
    assert shards_of(outcome) == shards_of(run(make(GOOD + GOOD)))
    assert outcome.n_bad == ((BAD[line], 1),)
    assert outcome.n_lines == 2 * len(TEXTS) + 1
    [bad] = outcome.bad_lines
    assert (bad.line, bad.at, bad.error_class) == (len(TEXTS) + 2, len(GOOD) + 1, BAD[line])
    assert bad.source_id == "org/name@0123/data/a.parquet"
    assert bad.message
    assert "a\\x" not in bad.message


def test_lines_of_a_part_are_counted_from_its_beginning_and_placed_in_the_file(make):
    content = GOOD + b"oops\n" + GOOD
    task = make(content, max_bad_share=0.5)
    source = Source(path=task.sources[0].path, source_id="a", part=(len(GOOD) - 3, len(content)))
    counts = Counts()
    texts = [t for batch in text.batches(task, source, 10**6, counts) for t in batch.texts]
    assert texts == TEXTS
    [bad] = counts.bad_lines
    assert (bad.line, bad.at) == (1, len(GOOD))


def test_only_the_first_hundred_bad_lines_are_told_and_all_are_counted(make):
    outcome = run(make(b"oops\n" * 150 + GOOD, max_bad_share=1.0))
    assert outcome.n_bad == (("not_json", 150),)
    assert [bad.line for bad in outcome.bad_lines] == [*range(1, 101)]
    assert [bad.at for bad in outcome.bad_lines] == [*range(0, 500, 5)]


@pytest.mark.parametrize(("n_bad", "n_lines", "is_refused"), [(1, 10, True), (1, 99, True), (1, 100, False), (2, 200, False), (3, 200, True), (0, 1, False), (1, 1, True)])  # fmt: skip
def test_a_source_is_refused_when_more_than_the_share_of_its_lines_are_bad(make, n_bad, n_lines, is_refused):
    outcome = run(make(b"oops\n" * n_bad + line_of("a") * (n_lines - n_bad)))
    if is_refused:
        assert outcome.error_class == "bad_lines"
        assert f"{n_bad} of {n_lines} lines are bad: line 1 at byte 0 is not_json (" in outcome.message
    else:
        assert (outcome.n_documents, outcome.n_lines) == (n_lines - n_bad, n_lines)


def test_a_file_without_lines_makes_no_shard(make):
    for content in (b"", b"\n \n", b"\xef\xbb\xbf"):
        outcome = run(make(content))
        assert (outcome.shards, outcome.n_documents, outcome.n_lines) == ((), 0, 0)


def test_a_missing_file_is_missing(make):
    task = make(GOOD)
    os.unlink(task.sources[0].path)
    assert run(task).error_class == "missing_file"


NOISE = b"".join(line_of(random.Random(n).randbytes(300).hex()) for n in range(500))


def test_a_source_that_is_refused_at_its_end_leaves_no_shard_of_its_beginning(make):
    task = make(line_of("word " * 2000) * 40 + b"{\n" * 40, max_shard_tokens=2000)
    assert run(task).error_class == "bad_lines"
    assert os.listdir(task.output_dir) == []


@pytest.mark.parametrize("ending", [".jsonl.gz", ".jsonl.zst"])
class TestCompressed:
    def test_a_truncated_stream_is_named_and_nothing_is_published(self, make, ending):
        whole = packed(NOISE, ending)
        for n_bytes in (1, 3, 10, len(whole) // 2, len(whole) - 5, len(whole) - 1):
            task = make(b"", f"a{ending}")
            with open(task.sources[0].path, "wb") as file:
                file.write(whole[:n_bytes])
            outcome = run(task)
            assert outcome.error_class == "bad_compression", n_bytes
            assert f"of {n_bytes}, " in outcome.message
            assert os.listdir(task.output_dir) == []

    def test_damage_is_named_with_how_far_it_went(self, make, ending):
        task = make(b"", f"a{ending}")
        whole = bytearray(packed(NOISE, ending))
        whole[len(whole) // 2 :] = b"\xff" * (len(whole) // 2)
        with open(task.sources[0].path, "wb") as file:
            file.write(whole)
        outcome = run(task)
        assert outcome.error_class == "bad_compression"
        assert "near byte" in outcome.message

    def test_members_that_follow_each_other_are_one_stream(self, make, ending):
        task = make(GOOD + GOOD)
        expected = shards_of(run(task))
        compressed = make(b"", f"a{ending}")
        with open(compressed.sources[0].path, "wb") as file:
            file.write(packed(GOOD[:100], ending) + packed(b"", ending) + packed(GOOD[100:] + GOOD, ending))
        assert shards_of(run(compressed)) == expected

    def test_what_follows_the_stream_and_is_no_stream_is_named(self, make, ending):
        task = make(GOOD, f"a{ending}")
        with open(task.sources[0].path, "ab") as file:
            file.write(b"and more")
        assert run(task).error_class == "bad_compression"

    def test_a_file_without_a_byte_is_empty_and_no_stream_of_nothing(self, make, ending):
        task = make(b"", f"a{ending}")
        assert run(task).shards == ()
        open(task.sources[0].path, "wb").close()
        assert run(task).error_class == "empty_file"


def test_zeros_may_follow_a_gzip_stream(make):
    task = make(GOOD, "a.jsonl.gz")
    expected = run(task)
    with open(task.sources[0].path, "ab") as file:
        file.write(bytes(1000))
    assert run(task) == expected


@pytest.mark.parametrize("command", [["zstd", "-19"], ["zstd", "--check", "-1"], ["gzip", "-9"]])
def test_what_the_usual_programs_write_is_read(make, command):
    content = GOOD * 50
    try:
        squeezed = subprocess.run([*command, "-c"], input=content, capture_output=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip(f"no {command[0]} here")
    task = make(b"", "a.jsonl" + {"gzip": ".gz", "zstd": ".zst"}[command[0]])
    with open(task.sources[0].path, "wb") as file:
        file.write(squeezed)
    assert shards_of(run(task)) == shards_of(run(make(content)))


@pytest.mark.parametrize("block_bytes", [1000, 1 << 20])
def test_shards_do_not_depend_on_blocks_or_on_how_long_a_line_may_be(make, monkeypatch, block_bytes):
    content = GOOD + line_of(LONG) + GOOD + line_of("", more=LONG)
    expected = run(make(content))
    monkeypatch.setattr(streams, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(lines, "_LINE_BYTES", 1 << 16)
    assert run(make(content)) == expected


def test_a_full_disk_is_no_room_for_a_long_line_too(make, monkeypatch):
    def full(**_):
        raise OSError(errno.ENOSPC, "No space left on device")

    task = make(GOOD + line_of(LONG))
    monkeypatch.setattr(streams, "BLOCK_BYTES", 1 << 16)
    monkeypatch.setattr(lines, "_LINE_BYTES", 1 << 16)
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    assert run(task).error_class == "no_room"


def test_a_long_line_leaves_nothing_behind(make, monkeypatch):
    monkeypatch.setattr(lines, "_LINE_BYTES", 1 << 10)
    monkeypatch.setattr(streams, "BLOCK_BYTES", 1 << 10)
    outcome = run(task := make(line_of(LONG) + GOOD))
    assert sorted(os.listdir(task.output_dir)) == [shard.name for shard in outcome.shards]
