"""A manifest of shards is taken whole or refused: no name leads out, no figure is odd, and what it says adds up."""

import copy

import pytest

from asyncdl.core.packed import faults_of, parse
from asyncdl.errors import UnsafeNameError

SHA = "0" * 64
SHARD = {"name": "shard_a-0000.parquet", "sequences": 3, "size": 100, "sha256": SHA}
SPLIT = {
    "path": "en",
    "shards": 2,
    "sequences": 5,
    "tokens": 37,
    "padding": 3,
    "shard_files": [SHARD, SHARD | {"name": "shard_a-0001.parquet", "sequences": 2}],
}
MANIFEST = {"schema_version": 1, "max_seq_length": 8, "labels": "shifted", "vocab_size": 400, "splits": {"en": SPLIT}}


def changed(change):
    manifest = copy.deepcopy(MANIFEST)
    change(manifest, manifest["splits"]["en"], manifest["splits"]["en"]["shard_files"][0])
    return manifest


def test_a_manifest_says_what_there_is():
    packed = parse(MANIFEST)
    assert (packed.max_seq_length, packed.labels, packed.vocab_size) == (8, "shifted", 400)
    assert (packed.n_shards, packed.n_bytes) == (2, 200)
    [split] = packed.splits
    assert [shard.name for shard in split.shards] == ["shard_a-0000.parquet", "shard_a-0001.parquet"]
    assert list(faults_of(split, 8)) == []


def test_what_an_older_manifest_does_not_tell_is_not_held_against_it():
    bare = {"schema_version": 1, "max_seq_length": 8, "splits": {"en": {"path": "en", "shard_files": [SHARD]}}}
    packed = parse(bare)
    assert (packed.labels, packed.vocab_size) == (None, None)
    assert list(faults_of(packed.splits[0], 8)) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda m, s, f: m.update(schema_version=2),
        lambda m, s, f: m.update(max_seq_length=0),
        lambda m, s, f: m.update(max_seq_length="8"),
        lambda m, s, f: m.update(labels="other"),
        lambda m, s, f: m.update(labels=["hf"]),
        lambda m, s, f: m.update(vocab_size=True),
        lambda m, s, f: m.update(splits=[]),
        lambda m, s, f: m.pop("splits"),
        lambda m, s, f: m.update(splits={"en": None}),
        lambda m, s, f: s.pop("path"),
        lambda m, s, f: s.pop("shard_files"),
        lambda m, s, f: s.update(tokens=-1),
        lambda m, s, f: s.update(tokens=1e300),
        lambda m, s, f: f.pop("sha256"),
        lambda m, s, f: f.update(sha256="0" * 63),
        lambda m, s, f: f.update(size=-1),
        lambda m, s, f: f.update(size=None),
        lambda m, s, f: f.update(sequences=1.5),
        lambda m, s, f: f.update(name=7),
    ],
)
def test_what_is_no_manifest_of_shards_is_refused(change):
    with pytest.raises(ValueError, match=r"."):
        parse(changed(change))


@pytest.mark.parametrize("document", [None, [], "x", 1])
def test_json_that_is_no_object_is_refused(document):
    with pytest.raises(ValueError, match="not an object"):
        parse(document)


@pytest.mark.parametrize("name", ["../en", "/etc", "en/../../x", "", ".", "en//x", "a\x1b[2Jb"])
def test_no_name_leads_out(name):
    with pytest.raises(UnsafeNameError):
        parse(changed(lambda m, s, f: s.update(path=name)))
    with pytest.raises(UnsafeNameError):
        parse(changed(lambda m, s, f: f.update(name=name)))


def test_a_shard_lies_in_the_folder_of_its_split():
    with pytest.raises(UnsafeNameError, match="not in the folder"):
        parse(changed(lambda m, s, f: f.update(name="other/shard_a-0000.parquet")))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m, s, f: s.update(shards=3), "3 shards are said to be there, and 2 are listed"),
        (lambda m, s, f: s.update(sequences=6), "6 sequences are said to be there, and its shards have 5"),
        (lambda m, s, f: f.update(sequences=4), "5 sequences are said to be there, and its shards have 6"),
        (lambda m, s, f: s.update(tokens=38), "38 tokens and 3 of padding make 41, and 5 sequences of 8 hold 40"),
        (lambda m, s, f: s.update(padding=2), "37 tokens and 2 of padding make 39, and 5 sequences of 8 hold 40"),
        (lambda m, s, f: f.update(name="shard_a-0001.parquet"), "a shard is listed twice"),
    ],
)
def test_every_sequence_and_token_is_accounted_for(change, said):
    [split] = parse(changed(change)).splits
    assert said in list(faults_of(split, 8))
