"""What bounds the speed of an engine, and the one option that would help: decided from the figures of the last second.

The first word whose condition holds is the answer, the surest first; `told` lets a word out only when it has held for
a while. Knows no clock, no gate, no meter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

Bound = Literal[
    "disk-full", "handles", "max-rate", "host-pause", "pool", "cpu", "disk", "per-host", "slots", "host", "idle", ""
]  # fmt: skip
"""'': nobody knows."""

PaceState = Literal["", "searching", "found", "ceiling"]
"""Of the hosts with as many requests open as they get. '': there is none. found: more than these did not pay there, or
were refused. ceiling: the user allows no more."""

SPENT_SHARE = 0.7
"""Of the time in which --max-rate is used up. Guess: between two blocks there are moments in which it is not."""

FULL_SHARE = 0.9
"""Of the slots that must be taken on average: a file that ends leaves a gap. Guess."""

BUSY_CORE = 0.85
"""Of a core, or of all cores together, from where on there is no more to get: the system takes the rest. Guess."""

WAITS_SHARE = 0.25
"""Of the time in which the loop could have run and had no core: others take them. With one to spare it is next to
nothing, and who waits for a thread that waits for a core seems to wait for the disk. Guess."""

ON_DISK_SHARE = 0.5
"""Of the requests that wait for the disk: those that wait for the network are fewer then. Guess."""

SOME = 0.5
"""Fewer requests on average are none: the last of a queue, or one now and then. Guess."""

N_LOOKS = 5
N_AGREE = 3
"""A word is told when three of the last five looks, a second apart, found it: one odd second says nothing. Guess."""


class Meaning(NamedTuple):
    """sentence: what bounds. option: what would help, '' where nothing is needed."""

    sentence: str
    option: str


BOUNDS: dict[str, Meaning] = {
    "disk-full": Meaning("the disk of the data dir is full", "make room, the run goes on by itself"),
    "handles": Meaning("no more files can be opened", "raise their limit (ulimit -n), or lower --workers"),
    "max-rate": Meaning("--max-rate is reached", "raise --max-rate"),
    "host-pause": Meaning("a host asked for a pause", "it ends by itself; on the Hub, HF_TOKEN raises the limits"),
    "pool": Meaning("nothing is to be downloaded, and every process is busy", "raise --processes where cores are idle"),
    "cpu": Meaning("the processor", "run a second engine on this queue where cores are idle, else lower --processes"),
    "disk": Meaning("requests wait for the disk", "choose a faster one with --data-dir"),
    "per-host": Meaning("the host gets all the requests that --per-host allows", "raise --per-host"),
    "slots": Meaning("every slot is taken", "raise --workers"),
    "host": Meaning("the host or the line gives no more, however many ask", "try a mirror that is nearer"),
    "idle": Meaning("what is left waits for its next try, or nothing is left", ""),
}
"""Every bound but '', and what is said of it."""


class Figures(NamedTuple):
    """What one look saw; means are over the time since the look before.

    n_left: downloads that are not finished, those that wait for a retry included. rate_spent: the share of the time in
    which --max-rate was used up. n_open: mean of the slots taken. n_on_disk: mean of those that waited for the disk.
    are_threads_full: more calls than disk threads. loop_cores, engine_cores: of the event loop's thread and of the
    whole process. loop_waits: the share of the time in which the loop waited for a core. is_per_host: the ceiling of a
    host is lower than the slots.
    """

    n_left: int
    is_disk_full: bool
    is_out_of_handles: bool
    rate_spent: float
    is_gate_closed: bool
    n_open: float
    n_slots: int
    n_on_disk: float
    are_threads_full: bool
    loop_cores: float
    engine_cores: float
    n_cores: int
    loop_waits: float
    pace: PaceState
    is_per_host: bool
    n_tasks: int
    n_processes: int

    @property
    def is_open(self) -> bool:
        """Whether something is being asked for."""
        return self.n_open >= SOME

    @property
    def is_full(self) -> bool:
        """Whether the slots are what keeps more requests away; a trial of fewer leaves some free for a moment."""
        return self.n_open >= FULL_SHARE * self.n_slots or self.pace == "ceiling"


def _is_paused(figures: Figures) -> bool:
    """A closed gate bounds where it keeps slots free; requests to the CDN behind the host may go on at full speed."""
    return figures.is_gate_closed and figures.n_left > 0 and figures.pace == "" and not figures.is_full


def _is_cpu(figures: Figures) -> bool:
    return (
        figures.loop_cores + figures.loop_waits >= BUSY_CORE
        or figures.engine_cores >= BUSY_CORE * figures.n_cores
        or figures.loop_waits >= WAITS_SHARE
    )


def _is_disk(figures: Figures) -> bool:
    return figures.are_threads_full or (figures.is_open and figures.n_on_disk >= ON_DISK_SHARE * figures.n_open)


_RULES: tuple[tuple[Bound, Callable[[Figures], bool]], ...] = (
    ("disk-full", lambda figures: figures.is_disk_full),
    ("handles", lambda figures: figures.is_out_of_handles),
    ("max-rate", lambda figures: figures.rate_spent >= SPENT_SHARE),
    ("host-pause", _is_paused),
    ("pool", lambda figures: not figures.is_open and 0 < figures.n_processes <= figures.n_tasks),
    ("cpu", _is_cpu),  # before the disk: threads that wait for a core look like threads that wait for a disk
    ("disk", _is_disk),
    ("per-host", lambda figures: figures.pace == "ceiling" and figures.is_per_host),
    ("slots", lambda figures: figures.is_full),
    ("host", lambda figures: figures.is_open and figures.pace != "searching"),
    ("idle", lambda figures: not figures.is_open and not figures.n_tasks),
)
"""In the order in which they are asked."""


def bound_of(figures: Figures) -> Bound:
    """Return what bounds the engine by these figures alone, '' where nothing stands out."""
    return next((word for word, holds in _RULES if holds(figures)), "")


def told(found: Sequence[Bound]) -> Bound:
    """Return what to say after these looks, oldest first; only the last N_LOOKS count. '' where they do not agree."""
    ((word, n),) = Counter(found[-N_LOOKS:]).most_common(1) or [("", 0)]
    return word if n >= N_AGREE else ""


def sentence(word: str) -> str:
    """Return what bounds and what would help in one line; '' for '' and for a word of a newer version."""
    return "; ".join(part for part in BOUNDS.get(word, ("", "")) if part)
