"""The sections of the board: what each row of a snapshot says in one line of some width. Pure.

A row is made when it is shown: of two thousand subsets a screen holds thirty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from asyncdl.core.rates import eta_s
from asyncdl.core.states import State
from asyncdl.status import view
from asyncdl.status.figures import bytes_text, clock_text, duration_text, fit, width_of
from asyncdl.status.focus import Target, choices
from asyncdl.status.hosts import HostState
from asyncdl.status.snapshot import DatasetState, Snapshot, host_of
from asyncdl.status.spans import Line, Pen, wrapped
from asyncdl.store.reader import RunningRow

NAMED_STATE_FROM = 100
"""Columns from which on the state of a row is a word, too. Guess."""

MAX_BACKEND_LINES = 2
"""Of what makes ids; all of it is in `status --once`. Guess."""

STATE_STYLES = {State.RUNNING: "busy", State.AVAILABLE: "", State.COMPLETED: "good", State.DISCARDED: "bad"}


@dataclass(frozen=True, slots=True)
class Section:
    """row: (index, width) -> a line of any width. targets: one for each row, or none where none can be chosen."""

    title: str
    n: int
    row: Callable[[int, int], Line]
    targets: tuple[Target, ...] = ()


def sections(shot: Snapshot, pen: Pen) -> dict[str, Section]:
    """Return {name: section}, those without rows left out."""
    targets: dict[str, list[Target]] = {}
    for target in choices(shot):
        targets.setdefault(target.section, []).append(target)
    files = files_width(shot)
    rows, hosts = view.by_state(shot.datasets), view.hosts_in_order(shot)
    found = {
        "dataset": Section("DATASETS", len(rows), lambda n, width: dataset_line(rows[n], shot, pen, width, files)),
        "error": Section("ERRORS", len(shot.errors), lambda n, _: _error(n, shot, pen)),
        "engine": Section("ENGINES", len(shot.engines), lambda n, _: _engine(n, shot, pen)),
        "host": Section("HOSTS", len(hosts), lambda n, _: _host(hosts[n], shot, pen)),
        "running": Section(
            "UNDER WAY", len(shot.running), lambda n, width: running_line(shot.running[n], shot, pen, width)
        ),
        "recent": Section("RECENT", len(shot.recent), lambda n, _: _recent(n, shot, pen)),
    }
    return {
        name: Section(one.title, one.n, one.row, tuple(targets.get(name, ()))) for name, one in found.items() if one.n
    }


def stage_lines(shot: Snapshot, pen: Pen, width: int) -> list[Line]:
    """Return the funnel: a heading and a line for each kind of work, with what holds it up; and what makes ids."""
    if not shot.jobs:
        return [(("the queue is empty; asyncdl enqueue TARGET fills it", ""),)]
    cell = 12 if width >= 70 else 10
    head = f"{'STAGES':<10}" + "".join(f"{state:>{cell}}" for state in view.STATES)
    lines: list[Line] = [((head, "bold"),)]
    for kind, counts in view.stage_counts(shot):
        line = [(f"{kind:<10}", "")]
        line += [(f"{n:>{cell},}", STATE_STYLES[state] if n else "dim") for state, n in counts.items()]
        if shot.is_paused("kind", kind):
            line.append((f"  {pen.paused} paused", "warn"))
        elif kind == shot.bottleneck:
            line.append((f"  {pen.limit} slowest", "warn"))
        lines.append(tuple(line))
    made = f"tokenized with {'; '.join(pen.text(text) for text in view.backend_lines(shot))}" if shot.backends else ""
    return [*lines, *(((text, "dim"),) for text in wrapped(made, width, indent=2, first_indent=0)[:MAX_BACKEND_LINES])]


def is_paused(row: DatasetState, shot: Snapshot) -> bool:
    """Whether a person has paused a dataset or the host that it comes from."""
    return shot.is_paused("dataset", row.name) or shot.is_paused("host", host_of(row.origin))


def sign(row: DatasetState, shot: Snapshot, pen: Pen) -> tuple[str, str]:
    """Return one character for the state of a dataset, and its style."""
    if row.state in (State.RUNNING, State.AVAILABLE) and is_paused(row, shot):
        return pen.paused, "warn"
    signs = {
        State.RUNNING: pen.running, State.AVAILABLE: pen.available, State.COMPLETED: pen.completed,
        State.DISCARDED: pen.discarded,
    }  # fmt: skip
    return signs[row.state], STATE_STYLES[row.state]


def dataset_line(row: DatasetState, shot: Snapshot, pen: Pen, width: int, files: int) -> Line:
    """Return sign, name, bar, share, files, rate, ETA, and the state where there is room for it.

    files: columns of `done/all` files, see files_width.
    """
    cells = view.cells(row)
    mark, style = sign(row, shot, pen)
    is_wide = width >= NAMED_STATE_FROM
    bar_width = 20 if is_wide else 8
    is_moving = row.per_s is not None and (row.per_s >= 1 or row.state is State.RUNNING)
    rate = f"{bytes_text(row.per_s or 0.0)}/s" if is_moving else ""
    eta = row.eta_s
    figures = f" {cells.percent:>4} {cells.files:>{files}} {rate:>12} {duration_text(eta) if eta else '':>6}"
    state = f" {row.state:<9}" if is_wide else ""
    room = max(width - 2 - 1 - bar_width - len(figures) - len(state), 0)
    name = pen.text(f"{row.name}/{row.subset}".rstrip("/"))
    if width_of(name) > room:  # who published it is the least of what tells subsets apart
        name = name.partition("/")[2] or name
    bar = pen.bar(cells.share, bar_width)
    return (f"{mark} ", style), (f"{fit(name, room)} ", ""), (bar, style), (figures, ""), (state, style)


def files_width(shot: Snapshot) -> int:
    """Return the columns that `done/all` files take at most, of any subset."""
    return 2 * len(f"{max((row.n_files for row in shot.datasets), default=0):,}") + 1


def _error(n: int, shot: Snapshot, pen: Pen) -> Line:
    row = shot.errors[n]
    title, example, _ = view.error_lines(row, shot.at)
    return (
        (f"{pen.discarded if row.n_discarded else pen.available} ", "bad" if row.n_discarded else "warn"),
        (pen.text(title), "bad" if row.n_discarded else "warn"),
        (f"  {pen.text(example)}", "dim"),
    )


def _engine(n: int, shot: Snapshot, pen: Pen) -> Line:
    row = shot.engines[n]
    ago = duration_text(shot.at - row.beat_at)
    name = pen.text(f"{row.host} pid {row.pid}")
    if not row.is_alive:
        return (f"{pen.dead} {name}", "bad"), (f"  dead, last beat {ago} ago; its jobs go to the next engine", "bad")
    health = ""
    if row.cores is not None:
        lag = f"{row.loop_lag_s * 1000:.0f}ms"
        health = f" cpu {row.cores:.0%} {bytes_text(row.rss_bytes)} lag {lag} pool {row.n_pool}"
    return (
        (f"{pen.running} ", "good"),
        (name, ""),
        (f" {row.n_requests}/{row.workers} slots {bytes_text(row.per_s)}/s", ""),
        (f" beat {ago}", "dim"),
        (health, ""),
    )


def _host(row: HostState, shot: Snapshot, pen: Pen) -> Line:
    """What is closed comes before the figures: where the line is cut, a countdown must not be."""
    gates = [gate for gate in shot.gates if gate.host == row.name]
    mark = pen.paused if gates or shot.is_paused("host", row.name) else pen.running
    line = [(f"{mark} ", "warn" if mark == pen.paused else "good"), (pen.text(row.name), "")]
    if shot.is_paused("host", row.name):
        line.append(("  paused by hand", "warn"))
    for gate in gates:
        quota = f"{pen.text(gate.quota)} " if gate.quota else ""
        line.append((f"  {quota}closed for {duration_text(gate.closed_until - shot.at)}", "warn"))
    if row.is_asked:
        line.append((f"  {view.traffic_text(row)}", ""))
    elif row.connections_hint is not None:
        cap = "" if row.connections_cap is None else f", {row.connections_cap} were too many"
        line.append((f"  {row.connections_hint} requests at once{cap}", "dim"))
    return tuple(line)


def running_line(row: RunningRow, shot: Snapshot, pen: Pen, width: int) -> Line:
    """Return one job that is under way: kind, how long, its share where that is known, and its path."""
    known = row.kind == "download" and row.size_bytes is not None and row.size_bytes > 0
    share = pen.bar(row.done_bytes / row.size_bytes, 8) if known and row.size_bytes else " " * 8
    size = "" if row.size_bytes is None else bytes_text(row.size_bytes)
    begun = f"{row.kind:<8} {share} {size:>10} {duration_text(shot.at - row.started_at):>6} "
    tries = f" attempt {row.attempt}" if row.attempt > 1 else ""
    room = max(width - len(begun) - len(tries), 8)
    return (begun, ""), (fit(pen.text(row.path), room), ""), (tries, "warn")


def _recent(n: int, shot: Snapshot, pen: Pen) -> Line:
    row = shot.recent[n]
    return (
        (f"{clock_text(row.at)} ", "dim"),
        (f"{pen.text(row.outcome)} ", "bad" if row.outcome == "discarded" else "warn"),
        (pen.text(f"{row.kind} {row.error_class or ''} {row.path}"), ""),
        (pen.text(f"  {row.text}" if row.text else ""), "dim"),
    )


def full_in_s(shot: Snapshot) -> float | None:
    """Return in how many seconds the disk is full at this rate, None where it is not or nobody knows."""
    if shot.disk is None or shot.remaining_bytes is None or shot.remaining_bytes <= shot.disk.free_bytes:
        return None
    return eta_s(shot.disk.free_bytes, shot.per_s)
