"""One row group is decoded ahead and no more, errors keep their place, and nothing is left open."""

import gc
import weakref

import pytest

from asyncdl.errors import ShardError
from asyncdl.loader.read_ahead import read_ahead


class Decoded:
    """Stands for a row group: heavy, so that it counts how many of it live."""

    def __init__(self, number):
        self.number = number


class Reader:
    """Gives Decoded; fails at the number `broken`. log: what was asked, in order. most_alive: at any time."""

    def __init__(self, broken=None):
        self.broken = broken
        self.log = []
        self.most_alive = 0
        self._alive = weakref.WeakSet()

    def read(self, number):
        self.log.append(number)
        if number == self.broken:
            raise ShardError(f"row group {number} is damaged")
        decoded = Decoded(number)
        self._alive.add(decoded)
        self.most_alive = max(self.most_alive, len(self._alive))
        return decoded

    def close(self):
        self.log.append("closed")


def test_all_come_in_order_with_at_most_two_alive():
    reader = Reader()
    groups, seen = read_ahead(reader, range(6)), []
    gc.collect()
    for _ in range(6):
        group = None
        group = next(groups)
        seen.append(group.number)
    assert next(groups, None) is None
    assert seen == list(range(6))
    assert reader.most_alive == 2
    assert reader.log == [*range(6), "closed"]


def test_an_error_comes_where_its_row_group_would_have():
    reader = Reader(broken=2)
    groups = read_ahead(reader, range(6))
    assert [next(groups).number, next(groups).number] == [0, 1]
    with pytest.raises(ShardError, match="row group 2"):
        next(groups)
    assert reader.log[-1] == "closed"
    assert 4 not in reader.log


def test_leaving_early_closes_the_reader_after_what_is_under_way():
    reader = Reader()
    groups = read_ahead(reader, range(6))
    next(groups)
    groups.close()
    assert reader.log == [0, 1, "closed"]


def test_nothing_to_read_reads_nothing():
    reader = Reader()
    assert list(read_ahead(reader, [])) == []
    assert reader.log == ["closed"]
