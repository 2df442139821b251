"""Facts of datasets and recipes by id, read from the queue as they are needed and kept for a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from asyncdl.core.model import Dataset, Recipe
from asyncdl.store.reader import Reader

T = TypeVar("T")

N_KEPT = 1024
"""A dataset has a row per folder; a run works on few at once."""


class Datasets:
    """Owner of two small caches over one Reader, which its maker closes."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._datasets: OrderedDict[int, Dataset] = OrderedDict()
        self._recipes: OrderedDict[int, Recipe] = OrderedDict()

    def dataset(self, id_: int) -> Dataset:
        return _kept(self._datasets, id_, self._reader.dataset)

    def recipe(self, id_: int) -> Recipe:
        return _kept(self._recipes, id_, self._reader.recipe)


def _kept(cache: OrderedDict[int, T], id_: int, read: Callable[[int], T]) -> T:
    if id_ not in cache:
        cache[id_] = read(id_)
        if len(cache) > N_KEPT:
            cache.popitem(last=False)
    return cache[id_]
