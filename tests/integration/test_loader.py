"""`load_tokens` on files: what a batch is, what is refused and how it is told, and what other readers see."""

import copy
import json
import os
import pickle
import re
import subprocess
import sys
import weakref
from itertools import chain
from types import SimpleNamespace

import datasets
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asyncdl import load_tokens
from asyncdl.errors import ConfigError, ShardError, UsageError
from asyncdl.loader.shard import ShardFile
from tests.integration.workers.samples import TEXTS, tokenize_task, train_tokenizer, write_texts
from tests.support.packed import COLUMNS, PAD_ID, numbers, packed
from workers import entry

TRAIN = [[3, 3, 2], [], [4], [1, 1]]
TEST = [[2]]
N_TRAIN, N_TEST = 14, 2


@pytest.fixture
def folder(tmp_path):
    return packed(tmp_path / "tok-4", {"a--train": TRAIN, "a--test": TEST})


@pytest.fixture
def tokenizer_folder(tmp_path):
    return train_tokenizer(tmp_path)


def seen(loader):
    return [numbers(batch) for batch in loader]


def flat(loader):
    return list(chain.from_iterable(seen(loader)))


def shard(folder, index=0, split="a--train"):
    return folder / split / f"shard_a-{index:04d}.parquet"


def edit(folder, change):
    """Let `change` alter the manifest."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    change(manifest)
    path.write_bytes(orjson.dumps(manifest))


def told(error):
    """Every error says what is wrong and what to do."""
    assert error.value.hint
    return error.value.message


# What is given


def test_a_batch_is_three_arrays_of_int32_in_memory_of_its_own(folder):
    batches = list(load_tokens(folder, batch_size=2))
    for batch in batches:
        assert list(batch) == ["input_ids", "attention_mask", "labels"]
        for values in batch.values():
            assert (values.shape, values.dtype) == ((2, 4), np.int32)
            assert values.flags.owndata
            assert values.flags.writeable
            assert values.flags.c_contiguous
    assert batches[0]["input_ids"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert batches[0]["attention_mask"].tolist() == [[1] * 4] * 2
    assert batches[0]["labels"].tolist() == [[1, 2, 3, -100], [5, 6, 7, -100]]


def test_without_a_seed_the_order_is_that_of_the_manifest_in_every_epoch(folder):
    loader = load_tokens(folder, batch_size=4)
    assert [loader.epoch, flat(loader), loader.epoch] == [0, list(range(16)), 1]
    assert flat(loader) == list(range(16))


def test_a_folder_and_its_manifest_are_the_same(folder):
    assert seen(load_tokens(folder / "manifest.json", batch_size=5)) == seen(load_tokens(str(folder), batch_size=5))


def test_splits_are_chosen_by_name_in_whatever_order(folder):
    assert flat(load_tokens(folder, "a--test", batch_size=1)) == [14, 15]
    assert flat(load_tokens(folder, ["a--train"], batch_size=1)) == list(range(14))
    both = load_tokens(folder, iter(["a--test", "a--train", "a--test"]), batch_size=1)
    assert flat(both) == list(range(16))


def test_a_seed_shuffles_row_groups_of_all_shards_and_the_sequences_in_each(tmp_path):
    loader = load_tokens(packed(tmp_path / "x", {"s": [[8, 8], [8, 8]]}), batch_size=8, seed=1)
    first = seen(loader)
    assert sorted(chain.from_iterable(first)) == list(range(32))
    assert all(sorted(batch) == list(range(min(batch), min(batch) + 8)) for batch in first), (
        "one row group after another"
    )
    assert [min(batch) for batch in first] != [0, 8, 16, 24]
    assert not any(batch == sorted(batch) for batch in first)


def test_each_row_group_and_each_epoch_is_shuffled_in_its_own_way(tmp_path):
    loader = load_tokens(packed(tmp_path / "x", {"s": [[8, 8], [8, 8]]}), batch_size=8, seed=1)
    epochs = [seen(loader) for _ in range(3)]
    within = [tuple(number % 8 for number in batch) for epoch in epochs for batch in epoch]
    assert len(set(within)) == len(within) == 12
    assert len({tuple(batch[0] // 8 for batch in epoch) for epoch in epochs}) > 1


def test_another_seed_or_epoch_is_another_order_and_the_same_ones_are_the_same(folder):
    def order(seed, epoch):
        loader = load_tokens(folder, batch_size=4, seed=seed)
        loader.set_epoch(epoch)
        return flat(loader)

    orders = [order(seed, epoch) for seed in (0, 1, 2**40) for epoch in (0, 1)]
    assert len({tuple(o) for o in orders}) == 6
    assert order(2**40, 1) == orders[-1]


def test_the_end_of_an_epoch_moves_to_the_next(folder):
    loader = load_tokens(folder, batch_size=4, seed=5)
    first, second = seen(loader), seen(loader)
    assert first != second
    loader.set_epoch(1)
    assert seen(loader) == second
    loader.set_epoch(0)
    assert seen(loader) == first


def test_an_epoch_left_early_begins_anew(folder):
    loader = load_tokens(folder, batch_size=4, seed=5)
    whole = seen(loader)
    loader.set_epoch(0)
    next(iter(loader))
    assert loader.epoch == 0
    assert seen(loader) == whole


def test_a_dropped_rest_differs_from_epoch_to_epoch(folder):
    loader = load_tokens(folder, "a--train", batch_size=4, seed=5, world_size=2)
    dropped = set()
    for epoch in range(8):
        given = set()
        for rank in range(2):
            loader = load_tokens(folder, "a--train", batch_size=4, seed=5, world_size=2, rank=rank)
            assert len(loader) == 1
            loader.set_epoch(epoch)
            given |= set(flat(loader))
        assert len(given) == 8
        dropped.add(frozenset(range(N_TRAIN)) - given)
    assert len(dropped) > 1


def test_kept_rests_are_filled_with_sequences_of_padding(folder):
    batches = [
        list(load_tokens(folder, "a--test", batch_size=2, rank=rank, world_size=3, drop_last=False))
        for rank in range(3)
    ]
    assert [[numbers(batch) for batch in of_rank] for of_rank in batches] == [[[14]], [[15]], [[]]]
    for of_rank in batches:
        [batch] = of_rank
        assert all(values.shape == (2, 4) for values in batch.values())
        assert batch["input_ids"][1].tolist() == [PAD_ID] * 4
        assert batch["attention_mask"][1].tolist() == [0] * 4
        assert batch["labels"][1].tolist() == [-100] * 4


def test_no_sequences_are_no_batches_where_nothing_is_dropped(tmp_path):
    empty = packed(tmp_path / "x", {"none": [], "empty": [[]]})
    loader = load_tokens(empty, batch_size=2, drop_last=False, seed=1)
    assert (len(loader), loader.n_sequences, list(loader)) == (0, 0, [])


@pytest.mark.parametrize("options", [{"compression": "snappy"}, {"use_dictionary": True}, {"use_dictionary": False},
                                     {"data_page_size": 1}, {"data_page_version": "2.0"}])  # fmt: skip
def test_how_a_shard_is_encoded_makes_no_difference(tmp_path, options):
    folder = packed(tmp_path / "x", {"s": [[5, 9]]}, length=64, **options)
    batches = list(load_tokens(folder, batch_size=7))
    assert [numbers(batch, length=64) for batch in batches] == [list(range(7)), list(range(7, 14))]


@pytest.mark.parametrize("convention", ["shifted", "one of a later asyncdl"])
def test_labels_are_those_of_the_file_whether_read_or_made(tmp_path, convention):
    folder = packed(tmp_path / "x", {"s": [[5, 9]]}, convention=convention)
    given = np.concatenate([batch["labels"] for batch in load_tokens(folder, batch_size=2)])
    assert given.tolist() == pq.read_table(folder / "s")["labels"].to_pylist()


@pytest.mark.parametrize(
    "options",
    [{}, {"labels": "hf"}, {"packing": "best-fit"}, {"packing": "best-fit", "labels": "hf", "seq_lengths": True}],
)
def test_shards_of_a_tokenize_job_come_column_for_column(tmp_path, tokenizer_folder, options):
    source = write_texts(tmp_path / "source.parquet", TEXTS * 3, row_group_size=5)
    out = tmp_path / "x" / "s"
    done = entry.run(tokenize_task(source, tokenizer_folder, out, max_shard_tokens=8 * 16 + 7, **options))
    files = [
        {"name": s.name, "sequences": s.n_sequences, "size": s.size_bytes, "sha256": s.sha256} for s in done.shards
    ]
    manifest = {"schema_version": 1, "max_seq_length": 16, "splits": {"s": {"path": "s", "shard_files": files}}}
    (out.parent / "manifest.json").write_bytes(orjson.dumps(manifest))
    assert done.n_padding
    batches = list(load_tokens(out.parent, batch_size=1))
    for name in COLUMNS:
        assert [batch[name][0].tolist() for batch in batches] == pq.read_table(out)[name].to_pylist()


def test_one_row_group_is_in_memory_and_one_shard_open(tmp_path, monkeypatch):
    folder = packed(tmp_path / "x", {"s": [[3, 3], [3], [3]]})
    alive, n_before, n_read, read = weakref.WeakSet(), len(os.listdir("/proc/self/fd")), 0, ShardFile.read

    class Tracked(np.ndarray):
        """An array that can be counted."""

        __hash__ = object.__hash__

    def counted(file, group, n_sequences):
        nonlocal n_read
        assert not alive, "the last one is dropped before the next is read"
        assert len(os.listdir("/proc/self/fd")) == n_before + 1
        n_read += 1
        decoded = read(file, group, n_sequences)
        tracked = decoded.ids.view(Tracked)
        alive.add(tracked)
        return decoded._replace(ids=tracked)

    monkeypatch.setattr(ShardFile, "read", counted)
    assert len(list(load_tokens(folder, batch_size=5, seed=0, drop_last=False))) == 3
    assert n_read == 4, "each once"
    running = iter(load_tokens(folder, batch_size=5, seed=0))
    next(running)
    running.close()
    assert len(os.listdir("/proc/self/fd")) == n_before
    assert not alive


# Resuming


def test_a_state_is_json_and_the_same_on_all_ranks(folder):
    states = []
    for rank in range(2):
        loader = load_tokens(folder, batch_size=2, seed=3, rank=rank, world_size=2)
        next(iter(loader))
        states.append(loader.state_dict())
    assert states[0] == states[1] == json.loads(json.dumps(states[0]))


def test_a_state_resumes_at_the_batch_after_those_that_were_given(folder):
    loader = load_tokens(folder, batch_size=2, seed=3)
    whole = seen(loader)
    loader.set_epoch(0)
    running = iter(loader)
    states = [loader.state_dict()]
    for _ in whole:
        next(running)
        states.append(loader.state_dict())
    for n_given, state in enumerate(states):
        resumed = load_tokens(folder, batch_size=2, seed=3)
        resumed.load_state_dict(state)
        assert seen(resumed) == whole[n_given:]
        assert resumed.epoch == 1
        assert len(seen(resumed)) == len(whole), "the next epoch is whole again"


def test_what_others_took_ahead_is_told_with_n_taken(folder):
    loader = load_tokens(folder, batch_size=2, seed=3)
    whole = seen(loader)
    loader.set_epoch(0)
    taken = [numbers(batch) for batch in loader][:3]
    loader.set_epoch(0)
    state = loader.state_dict(n_taken=3)
    loader.load_state_dict(state)
    assert taken + seen(loader) == whole


def test_set_epoch_to_the_epoch_of_a_loaded_state_keeps_its_place(folder):
    loader = load_tokens(folder, batch_size=2, seed=3)
    whole = seen(loader)
    loader.set_epoch(0)
    loader.load_state_dict(loader.state_dict(n_taken=5))
    loader.set_epoch(0)
    assert seen(loader) == whole[5:]
    loader.load_state_dict(loader.state_dict() | {"epoch": 0, "batch": 5})
    loader.set_epoch(1)
    assert len(seen(loader)) == len(whole)


def test_a_loader_survives_pickling_with_its_place(folder):
    loader = load_tokens(folder, batch_size=2, seed=3)
    whole = seen(loader)
    loader.set_epoch(0)
    loader.load_state_dict(loader.state_dict(n_taken=2))
    copied = pickle.loads(pickle.dumps(loader))
    assert seen(copied) == whole[2:]


@pytest.mark.parametrize(
    ("option", "value"), [("batch_size", 2), ("seed", 4), ("seed", None), ("world_size", 2), ("drop_last", False)]
)
def test_a_state_of_other_options_is_refused_by_name(folder, option, value):
    options = {"batch_size": 4, "seed": 3}
    state = load_tokens(folder, **options).state_dict()
    other = load_tokens(folder, **options | {option: value})
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(UsageError, match=f"saved with {option} ") as error:
        other.load_state_dict(state)
    told(error)
    assert other.state_dict() == before


def test_a_state_of_other_shards_is_refused(folder, tmp_path):
    state = load_tokens(folder, batch_size=2).state_dict()
    with pytest.raises(UsageError, match="saved with shards"):
        load_tokens(folder, "a--train", batch_size=2).load_state_dict(state)
    same_counts = packed(tmp_path / "other", {"a--train": TRAIN, "a--test": TEST}, compression="none")
    with pytest.raises(UsageError, match="saved with shards"):
        load_tokens(same_counts, batch_size=2).load_state_dict(state)


def test_the_same_shards_elsewhere_take_the_state(folder, tmp_path):
    loader = load_tokens(folder, batch_size=2, seed=1)
    whole = seen(loader)
    loader.set_epoch(0)
    state = loader.state_dict(n_taken=4)
    moved = load_tokens(folder.rename(tmp_path / "moved"), batch_size=2, seed=1)
    moved.load_state_dict(state)
    assert seen(moved) == whole[4:]


def test_a_state_of_a_worker_goes_on_where_that_worker_stood_and_needs_as_many(folder, monkeypatch):
    def become(worker, n_workers):
        info = SimpleNamespace(id=worker, num_workers=n_workers)
        monkeypatch.setitem(sys.modules, "torch.utils.data", SimpleNamespace(get_worker_info=lambda: info))

    whole = seen(load_tokens(folder, batch_size=2, seed=3))
    become(1, 3)
    loader = load_tokens(folder, batch_size=2, seed=3)
    running = iter(loader)
    assert [numbers(next(running)) for _ in range(2)] == whole[1:5:3]
    resumed = load_tokens(folder, batch_size=2, seed=3)
    resumed.load_state_dict(loader.state_dict())
    become(1, 2)
    with pytest.raises(UsageError, match="one of 3 DataLoader workers, here are 2") as error:
        iter(resumed)
    told(error)
    become(1, 3)
    assert seen(resumed) == whole[7::3]


@pytest.mark.parametrize("state", [{}, {"version": 2}, {"epoch": 0, "batch": 3}])
def test_what_is_no_state_is_refused(folder, state):
    with pytest.raises(UsageError, match="not a state of load_tokens") as error:
        load_tokens(folder, batch_size=2).load_state_dict(state)
    told(error)


@pytest.mark.parametrize("n_taken", [-1, 9])
def test_more_batches_than_there_are_were_not_taken(folder, n_taken):
    with pytest.raises(UsageError, match=f"{n_taken} batches were taken of 8") as error:
        load_tokens(folder, batch_size=2).state_dict(n_taken)
    told(error)


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 1, "rank": 2, "world_size": 2}, "no rank 2 in a world of 2"),
        ({"batch_size": 1, "rank": -1}, "no rank -1"),
        ({"batch_size": 1, "seed": -1}, "the seed is -1"),
        ({"batch_size": 1, "splits": []}, "no split was chosen"),
        ({"batch_size": 9, "world_size": 2}, "16 sequences do not fill one batch of 9 on each of 2 ranks"),
    ],
)
def test_wrong_options_are_told(folder, options, message):
    with pytest.raises(UsageError, match=message) as error:
        load_tokens(folder, **options)
    told(error)


def test_there_is_no_epoch_before_the_first(folder):
    with pytest.raises(UsageError, match="the epoch is -1"):
        load_tokens(folder, batch_size=1).set_epoch(-1)


def test_an_unknown_split_is_answered_with_what_may_have_been_meant(folder):
    with pytest.raises(UsageError, match="there is no split a--trian") as error:
        load_tokens(folder, "a--trian", batch_size=1)
    assert error.value.hint == "did you mean a--train?"
    with pytest.raises(UsageError, match="there is no split validation") as error:
        load_tokens(folder, "validation", batch_size=1)
    assert error.value.hint == "the manifest has a--test, a--train"


def test_a_place_without_a_manifest_is_answered_with_one_that_has_it(tmp_path):
    made = packed(tmp_path / "datasets" / "tokenized" / "tok-4", {"s": [[1]]})
    for place in (tmp_path / "datasets", tmp_path / "datasets" / "tokenized"):
        with pytest.raises(ConfigError, match=re.escape(f"there is no {place}/manifest.json")) as error:
            load_tokens(place, batch_size=1)
        assert error.value.hint == f"did you mean {made}?"
    for place in (tmp_path / "nowhere", tmp_path / "nowhere" / "manifest.json", shard(made, split="s")):
        with pytest.raises(ConfigError, match="there is no") as error:
            load_tokens(place, batch_size=1)
        assert "asyncdl run" in error.value.hint


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"{}", b'{"schema_version": 2, "splits": {}}', b'{"schema_version": 1}', b"\xff",
     b'{"schema_version": 1, "max_seq_length": 4, "splits": []}',
     b'{"schema_version": 1, "max_seq_length": 4, "splits": {"s": {"path": "s"}}}',
     b'{"schema_version": 1, "max_seq_length": null, "splits": {}}'],
)  # fmt: skip
def test_what_is_no_manifest_is_told(folder, text):
    (folder / "manifest.json").write_bytes(text)
    with pytest.raises(ConfigError, match=r"manifest\.json") as error:
        load_tokens(folder, batch_size=1)
    told(error)


def test_a_missing_shard_is_told_at_once(folder):
    shard(folder).unlink()
    with pytest.raises(ShardError, match=r"shard_a-0000\.parquet is in the manifest, but not there") as error:
        load_tokens(folder, batch_size=1)
    told(error)


def test_a_shard_of_another_size_is_told_at_once(folder):
    path = shard(folder)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ShardError, match=r"0000\.parquet has \d+ bytes, the manifest says \d+"):
        load_tokens(folder, batch_size=1)


def test_a_shard_without_a_footer_is_told_at_once(folder):
    path = shard(folder)
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(ShardError, match=r"0000\.parquet cannot be read: "):
        load_tokens(folder, batch_size=1)


def test_a_shard_of_another_number_of_sequences_is_told_at_once(folder):
    edit(folder, lambda manifest: manifest["splits"]["a--train"]["shard_files"][0].update(sequences=9))
    with pytest.raises(ShardError, match="has 8 sequences, the manifest says 9"):
        load_tokens(folder, batch_size=1)


def test_a_shard_of_another_length_is_told_at_once(folder):
    edit(folder, lambda manifest: manifest.update(max_seq_length=8))
    with pytest.raises(ShardError, match="says that its sequences have 4 tokens, the manifest says 8"):
        load_tokens(folder, batch_size=1)


def rewrite(folder, table):
    """Put `table` in place of the first shard, as one row group, and say so in the manifest."""
    path = shard(folder)
    pq.write_table(table.replace_schema_metadata({"max_seq_length": "4"}), path)
    described = {"sequences": len(table), "size": path.stat().st_size}
    edit(folder, lambda manifest: manifest["splits"]["a--train"]["shard_files"][0].update(described))


def columns(**changes):
    whole = pa.array([[1, 2, 3, 4]] * 3, pa.list_(pa.int32()))
    return pa.table({name: changes.get(name, whole) for name in COLUMNS})


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[1, 2, 3, 4], [1, 2, 3], [1, 2, 3, 4, 5]], pa.list_(pa.int32())),
        pa.array([[1, 2, 3, 4], None, [1, 2, 3, 4]], pa.list_(pa.int32())),
        pa.array([[1, 2, 3, 4], [1, None, 3, 4], [1, 2, 3, 4]], pa.list_(pa.int32())),
        pa.array([[], [], []], pa.list_(pa.int32())),
    ],
)
@pytest.mark.parametrize("name", COLUMNS)
def test_sequences_of_other_lengths_or_with_holes_are_never_given(folder, values, name):
    rewrite(folder, columns(**{name: values}))
    with pytest.raises(ShardError, match="has a row group that is not 3 sequences of 4 tokens"):
        next(iter(load_tokens(folder, batch_size=1)))


def test_a_column_of_another_type_or_none_is_told_at_once(folder):
    rewrite(folder, columns(labels=pa.array([[1, 2, 3, 4]] * 3, pa.list_(pa.int64()))))
    with pytest.raises(ShardError, match="has no column labels of list<int32>"):
        load_tokens(folder, batch_size=1)
    rewrite(folder, columns().drop_columns("attention_mask"))
    with pytest.raises(ShardError, match="has no column attention_mask of list<int32>"):
        load_tokens(folder, batch_size=1)


def test_a_flipped_bit_is_told_when_its_row_group_is_read_and_not_before(tmp_path):
    folder = packed(tmp_path / "x", {"s": [[2, 2]]}, compression="none")
    path = shard(folder, split="s")
    content = bytearray(path.read_bytes())
    at = content.rindex(np.arange(8, 16, dtype=np.int32).tobytes())
    content[at] ^= 1
    path.write_bytes(content)
    running = iter(load_tokens(folder, batch_size=2))
    assert numbers(next(running)) == [0, 1]
    with pytest.raises(ShardError, match=r"shard_a-0000\.parquet cannot be read: .*CRC") as error:
        next(running)
    told(error)


def test_a_shard_that_was_replaced_since_is_told(folder):
    loader = load_tokens(folder, batch_size=1)
    packed(folder.parent / "new", {"a--train": [[1]]})
    shard(folder.parent / "new").replace(shard(folder))
    with pytest.raises(ShardError, match=r"has \d+ bytes, the manifest says"):
        next(iter(loader))


# What others see


def test_plain_readers_read_the_shards(folder, tmp_path):
    table = pq.read_table(folder / "a--train")
    assert [table.schema.field(name).type for name in COLUMNS] == [pa.list_(pa.int32())] * 3
    files = str(folder / "a--train" / "shard_*.parquet")
    read = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    ours = np.concatenate([batch["input_ids"] for batch in load_tokens(folder, "a--train", batch_size=1)])
    assert read.with_format("numpy")["input_ids"][:].tolist() == table["input_ids"].to_pylist() == ours.tolist()


def fresh(code):
    """What a new interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_asyncdl_alone_loads_neither_numpy_nor_pyarrow():
    heavy = "{'numpy', 'pyarrow', 'torch', 'asyncdl.loader'}"
    assert fresh(f"import sys, asyncdl, asyncdl.cli.main; print({heavy} & set(sys.modules))") == "set()"


def test_the_loader_loads_neither_torch_nor_pandas_nor_the_engine(folder):
    others = "{'torch', 'pandas', 'aiohttp', 'apsw', 'asyncdl.engine', 'workers'}"
    code = f"import sys, asyncdl\nlist(asyncdl.load_tokens({str(folder)!r}, batch_size=4, seed=1))\n"
    assert fresh(f"{code}print({others} & set(sys.modules))") == "set()"


def test_the_package_has_no_other_names():
    import asyncdl

    with pytest.raises(AttributeError, match="no attribute 'load_token'"):
        asyncdl.load_token
