"""Small files of a folder are packed together, within bounds, and every other file is a job of its own."""

from hypothesis import given
from hypothesis import strategies as st

from asyncdl.core import grouping
from asyncdl.core.grouping import GROUP_BYTES, MAX_FILES, SMALL_BYTES, Grouping, number_of
from asyncdl.core.names import group_stem, shard_stem

MIB = 1 << 20
files = st.lists(
    st.tuples(st.sampled_from([".jsonl", ".parquet", ".jsonl.gz", ".jsonl.zst"]), st.integers(0, 200 * MIB)),
    max_size=400,
)


@given(files, st.integers(0, 5))
def test_groups_are_runs_of_files_within_their_bounds(listed, n_groups):
    group = Grouping("sub", n_groups)
    found = [(f"sub/{n:04d}{ending}", size) for n, (ending, size) in enumerate(listed)]
    jobs = [group.job_of(file, size) for file, size in found]
    weights = {file: size * (4 if file.endswith(("gz", "zst")) else 1) for file, size in found}
    for (file, _), job in zip(found, jobs, strict=True):
        assert (job == file) == (weights[file] >= SMALL_BYTES)
    numbers = [number_of(job) for (file, _), job in zip(found, jobs, strict=True) if job != file]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(n_groups + 1, n_groups + 1 + len(set(numbers))))
    for number in set(numbers):
        members = [file for (file, _), job in zip(found, jobs, strict=True) if job != file and number_of(job) == number]
        assert len(members) <= MAX_FILES
        assert sum(weights[file] for file in members) <= GROUP_BYTES


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40))
def test_the_shards_of_a_group_are_called_as_no_files_are(name):
    for file in (name, "group-00001", "group~00001", "group~00001abc"):
        assert group_stem("x/group-00001") != shard_stem(f"x/{file}.parquet")


def test_a_group_lies_where_its_files_lie():
    assert Grouping("", 0).job_of("a.jsonl", 1) == "group-00001"
    assert Grouping("x/y", 41).job_of("x/y/a.jsonl", 1) == "x/y/group-00042"
    assert grouping.number_of("x/group-00042") == 42
