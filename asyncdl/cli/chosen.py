"""What the words after a verb stand for: kinds, datasets, hosts and classes of errors that this queue has.

A word that stands for nothing is answered with the nearest ones, never guessed at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, get_args

from asyncdl.core.model import Kind
from asyncdl.core.names import display
from asyncdl.core.near import did_you_mean, near
from asyncdl.errors import UsageError

if TYPE_CHECKING:
    from asyncdl.store.reader import Reader
    from asyncdl.store.steering import What

KINDS: tuple[Kind, ...] = get_args(Kind)

MAX_NAMED = 10
"""Names in one hint. Guess."""


def pausable(text: str, reader: Reader) -> tuple[What, str]:
    """Return what `text` names: a kind, else a dataset, else a host. Raises UsageError.

    A dataset of URLs has the name of its host: with `dataset:`, `host:` or `kind:` before it, it is that and no other.
    """
    known = _known(reader)
    sort, _, name = text.partition(":")
    for what in known:
        if sort == what:
            return what, place(what, name, reader)
        if (found := _named(what, text, known[what])) is not None:
            return what, found
    raise _unknown("kind, dataset or host", text, [name for names in known.values() for name in names])


def resumable(text: str, reader: Reader) -> list[tuple[What, str]]:
    """Return all that is paused and called `text`, else what `pausable` makes of it. Raises UsageError.

    A dataset that has gone from the queue can be resumed still.
    """
    paused = [(row.what, row.name) for row in reader.paused() if text in (row.name, f"{row.what}:{row.name}")]
    return list(paused) or [pausable(text, reader)]


def place(what: What, text: str, reader: Reader) -> str:
    """Return the full name of the kind, dataset or host `text`; `fineweb-2` will do where only one dataset ends so.

    Raises UsageError where the queue has none.
    """
    names = _known(reader)[what]
    if (found := _named(what, text, names)) is None:
        raise _unknown(what if what == "kind" else f"{what} in this queue called", text, names)
    return found


def dataset_of(text: str, reader: Reader) -> str:
    """Return the full name of a dataset in the queue, as `place` does. Raises UsageError."""
    return place("dataset", text, reader)


def class_of(text: str, reader: Reader) -> str:
    """Return the class of errors called `text`. Raises UsageError where no job has one and none is known."""
    from asyncdl.core.retry import TREATMENTS

    here = reader.error_classes()
    if text not in here and text not in TREATMENTS:
        raise _unknown("class of errors", text, here or TREATMENTS)
    return text


def _known(reader: Reader) -> dict[What, Collection[str]]:
    """Return the names of each sort, in the order in which a word is looked for among them."""
    from asyncdl.status.snapshot import host_of

    places = reader.dataset_places()
    hosts = {host for _, origin in places if (host := host_of(origin))}
    return {"kind": KINDS, "dataset": {name for name, _ in places}, "host": hosts}


def _named(what: What, text: str, names: Collection[str]) -> str | None:
    if what == "host":
        text = text.lower()
    ending = [name for name in names if name.endswith(f"/{text}")] if what == "dataset" else []
    return text if text in names else ending[0] if len(ending) == 1 else None


def _unknown(what: str, text: str, names: Iterable[str]) -> UsageError:
    known = sorted(set(names))
    last_steps = {name.rpartition("/")[2]: name for name in known}
    meant = tuple(dict.fromkeys(last_steps.get(one, one) for one in near(text, [*known, *last_steps])))
    there_are = f"there are {', '.join(map(display, known[:MAX_NAMED]))}" if known else "there are none yet"
    return UsageError(f"there is no {what} {display(text)}", hint=did_you_mean(meant) or there_are)
