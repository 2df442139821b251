"""The pages behind the board: all that is known of one dataset, host or error class, and what the keys do. Pure."""

from __future__ import annotations

from collections.abc import Collection

from asyncdl.status import view
from asyncdl.status.board import board, footer, header, screen
from asyncdl.status.figures import bytes_text, clock_text, duration_text, utc_text
from asyncdl.status.focus import Focus, Target
from asyncdl.status.sections import dataset_line, files_width, running_line
from asyncdl.status.snapshot import DatasetState, Snapshot, host_of
from asyncdl.status.spans import Line, Pen, wrapped
from asyncdl.store.reader import RecentRow, RunningRow

HELP = """\
q            quit; the last snapshot stays on the screen
tab, arrows  choose a dataset, a class of errors or a host; also h j k l
enter        all that is known of it
esc          back
p            pause the chosen dataset or host, or let it go on
r            retry the discarded jobs of the chosen class of errors
?            this page

{running} running  {available} waiting  {completed} completed  {discarded} with discarded jobs  {paused} paused

The first lines: what it comes to, the rate of the last minutes, what is free
on the disk, and what bounds the speed with the option that would help.

STAGES     jobs of each kind; `slowest` holds up the rest
DATASETS   the share of bytes, or of files where sizes are unknown; the rate
           is of what is safe on the disk
HOSTS      who asked for a pause; requests open of those that pay, rate, time
           to the first byte, answers 429 and 503; or how many paid once
ENGINES    slots, rate, last beat; CPU, memory, how late its loop woke up,
           busy processes; silent for 45 s is dead
RECENT     the last attempts that did not complete
UNDER WAY  jobs that run, the longest first; share of what is safe on disk
"""


def render(shot: Snapshot, focus: Focus, size: tuple[int, int], pen: Pen, verbs: Collection[str] = ()) -> list[Line]:
    """Return the whole screen for what is looked at: exactly size[1] lines of size[0] columns."""
    if focus.page == "board":
        return board(shot, focus, size, pen, verbs=verbs)
    top = header(shot, size[0], pen)[:2]
    body = _body(shot, focus, size[0], pen)
    first = min(focus.scroll, _reach(len(body), size))
    return screen([*top, (), *body[first:]], footer(focus, pen, verbs), size)


def reach(shot: Snapshot, focus: Focus, size: tuple[int, int], pen: Pen) -> int:
    """Return how many lines the page can scroll."""
    return 0 if focus.page == "board" else _reach(len(_body(shot, focus, size[0], pen)), size)


def _reach(n: int, size: tuple[int, int]) -> int:
    return max(n - max(size[1] - 4, 1), 0)


def _body(shot: Snapshot, focus: Focus, columns: int, pen: Pen) -> list[Line]:
    if focus.page == "help":
        text = HELP.format(
            running=pen.running, available=pen.available, completed=pen.completed, discarded=pen.discarded,
            paused=pen.paused,
        )  # fmt: skip
        return [((one, ""),) for line in text.splitlines() for one in _kept(line, columns)]
    if focus.chosen is None:
        return [(("nothing is chosen", "dim"),)]
    found = {"dataset": _dataset, "error": _error, "host": _host}[focus.chosen.section](
        shot, focus.chosen, columns, pen
    )
    return found or [(("it is not there any more", "dim"),)]


def _kept(line: str, columns: int) -> list[str]:
    """A line of the help with its blanks where it fits, else wrapped."""
    return [line] if len(line) <= columns else wrapped(line, columns, indent=2, first_indent=0)


def _dataset(shot: Snapshot, target: Target, columns: int, pen: Pen) -> list[Line]:
    row = _found(shot, target)
    if row is None:
        return []
    here = (row.name, row.subset)
    lines = [
        *_facts(
            {
                "dataset": row.name, "subset": row.subset or "(root)", "revision": row.revision or "(none)",
                "from": f"{row.source} {row.origin}", "state": _state(row, shot),
                "files": f"{row.n_files_done:,} of {row.n_files:,}",
                "bytes": f"{bytes_text(row.done_bytes)} of {bytes_text(row.known_bytes)}",
                "to come": "unknown" if row.remaining_bytes is None else bytes_text(row.remaining_bytes),
                "rate": "unknown" if row.per_s is None else f"{bytes_text(row.per_s)}/s",
                "ETA": "unknown" if row.eta_s is None else duration_text(row.eta_s),
            }, columns, pen,
        ),
        (), dataset_line(row, shot, pen, columns, files_width(shot)), (),
    ]  # fmt: skip
    lines += [((f"{kind:<10} {state:<10} {n:>13,}", ""),) for kind, state, n in sorted(row.stages)]
    under_way = [one for one in shot.running if (one.name, one.subset) == here and one.revision == row.revision]
    recent = [one for one in shot.recent if (one.name, one.subset) == here]
    return [*lines, *_running(under_way, shot, columns, pen), *_recent(recent, columns, pen)]


def _found(shot: Snapshot, target: Target) -> DatasetState | None:
    wanted = (target.name, target.subset, target.revision)
    return next((row for row in shot.datasets if (row.name, row.subset, row.revision) == wanted), None)


def _state(row: DatasetState, shot: Snapshot) -> str:
    by_hand = [
        f"paused by hand since {utc_text(pause.since)} ({pause.what})"
        for pause in shot.paused
        if (pause.what, pause.name) in (("dataset", row.name), ("host", host_of(row.origin)))
    ]
    discarded = [f"{row.n_discarded:,} jobs discarded"] if row.n_discarded else []
    return ", ".join([str(row.state), *discarded, *by_hand])


def _error(shot: Snapshot, target: Target, columns: int, pen: Pen) -> list[Line]:
    row = next((one for one in shot.errors if (one.error_class, one.kind) == (target.name, target.kind)), None)
    if row is None:
        return []
    title, _, hint = view.error_lines(row, shot.at)
    facts = {
        "class": row.error_class, "kind of job": row.kind, "jobs": title, "discarded": f"{row.n_discarded:,}",
        "last": "" if row.last_at is None else utc_text(row.last_at),
        "next try": "" if row.next_retry_at is None else utc_text(row.next_retry_at),
        "hint": hint.removeprefix("hint: "), "file": row.path, "it said": row.text,
    }  # fmt: skip
    recent = [one for one in shot.recent if (one.error_class, one.kind) == (row.error_class, row.kind)]
    return [*_facts(facts, columns, pen), *_recent(recent, columns, pen)]


def _host(shot: Snapshot, target: Target, columns: int, pen: Pen) -> list[Line]:
    row = next((one for one in shot.hosts if one.name == target.name), None)
    if row is None:
        return []
    facts = {
        "host": row.name,
        "just now": view.traffic_text(row) or "no engine works with it",
        "requests": "unknown" if row.connections_hint is None else f"{row.connections_hint} at once were found to pay",
        "refused": "" if row.connections_cap is None else f"more than {row.connections_cap} at once",
        "measured": "" if row.paced_at is None else utc_text(row.paced_at),
        "paused": next((utc_text(one.since) for one in shot.paused if (one.what, one.name) == ("host", row.name)), ""),
    }
    lines = _facts(facts, columns, pen)
    for gate in (gate for gate in shot.gates if gate.host == row.name):
        left = duration_text(gate.closed_until - shot.at)
        quota = gate.quota or "all requests"
        lines.append(((pen.text(f"{quota}: closed at {utc_text(gate.closed_at)}, {left} left"), "warn"),))
    files = files_width(shot)
    served = [one for one in shot.datasets if host_of(one.origin) == row.name]
    return [*lines, (), *(dataset_line(one, shot, pen, columns, files) for one in view.by_state(served))]


def _facts(facts: dict[str, str], columns: int, pen: Pen) -> list[Line]:
    """Return `name  value` lines, long values wrapped; empty ones left out."""
    lines: list[Line] = []
    for name, value in facts.items():
        for n, text in enumerate(wrapped(pen.text(value), max(columns - 13, 1))):
            lines.append(((f"{name if n == 0 else '':<12} ", "dim"), (text, "")))
    return lines


def _running(rows: list[RunningRow], shot: Snapshot, columns: int, pen: Pen) -> list[Line]:
    lines: list[Line] = [(), (("UNDER WAY", "bold"),)] if rows else []
    return [*lines, *(running_line(row, shot, pen, columns) for row in rows)]


def _recent(rows: list[RecentRow], columns: int, pen: Pen) -> list[Line]:
    lines: list[Line] = [(), (("RECENT", "bold"),)] if rows else []
    for row in rows:
        said = f"{row.outcome} {row.kind} {row.error_class or ''} attempt {row.attempt}: {row.path}: {row.text or ''}"
        shown = wrapped(pen.text(said), columns, indent=2, first_indent=9)
        lines += [((clock_text(row.at), "dim"), (text[8:] if n == 0 else text, "")) for n, text in enumerate(shown[:1])]
        lines += [((text, ""),) for text in shown[1:4]]
    return lines
