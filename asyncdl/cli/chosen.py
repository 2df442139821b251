"""What the words after a verb stand for: kinds, datasets, hosts and classes of errors that this queue has.

A word that stands for nothing is answered with the nearest ones, never guessed at.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, get_args

from asyncdl.core.model import Kind
from asyncdl.core.names import display
from asyncdl.core.near import did_you_mean, near
from asyncdl.errors import UsageError

if TYPE_CHECKING:
    from asyncdl.store.reader import Reader
    from asyncdl.store.steering import What

KINDS: tuple[Kind, ...] = get_args(Kind)


def pausable(text: str, reader: Reader) -> tuple[What, str]:
    """Return what `text` names: a kind, else a dataset, else a host. Raises UsageError."""
    from asyncdl.status.snapshot import host_of

    if text in KINDS:
        return "kind", text
    places = reader.dataset_places()
    names = {name for name, _ in places}
    if (dataset := _dataset(text, names)) is not None:
        return "dataset", dataset
    hosts = {host for _, origin in places if (host := host_of(origin))}
    if text.lower() in hosts:
        return "host", text.lower()
    raise _unknown("kind, dataset or host", text, [*KINDS, *names, *hosts])


def dataset_of(text: str, reader: Reader) -> str:
    """Return the full name of a dataset in the queue; `fineweb-2` will do where only one ends so. Raises UsageError."""
    names = {name for name, _ in reader.dataset_places()}
    if (found := _dataset(text, names)) is None:
        raise _unknown("dataset in this queue called", text, names)
    return found


def class_of(text: str, reader: Reader) -> str:
    """Return the class of errors called `text`. Raises UsageError where no job has one and none is known."""
    from asyncdl.core.retry import TREATMENTS

    here = reader.error_classes()
    if text not in here and text not in TREATMENTS:
        raise _unknown("class of errors", text, here or TREATMENTS)
    return text


def _dataset(text: str, names: Iterable[str]) -> str | None:
    ending = [name for name in names if name.endswith(f"/{text}")]
    return text if text in names else ending[0] if len(ending) == 1 else None


def _unknown(what: str, text: str, names: Iterable[str]) -> UsageError:
    known = sorted(set(names))
    last_steps = {name.rpartition("/")[2]: name for name in known}
    meant = tuple(dict.fromkeys(last_steps.get(one, one) for one in near(text, [*known, *last_steps])))
    there_are = f"there are {', '.join(map(display, known[:MAX_NAMED]))}" if known else "there are none yet"
    return UsageError(f"there is no {what} {display(text)}", hint=did_you_mean(meant) or there_are)


MAX_NAMED = 10
"""Names in one hint. Guess."""
