"""The dashboard: a snapshot, what is looked at and a size become exactly so many lines of so many columns. Pure.

Narrow terminals have one column, wide ones two. Each section gets its heading and a row before any gets a second.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from asyncdl.core.states import State
from asyncdl.status import view
from asyncdl.status.figures import bytes_text, clock_text, count_text, duration_text, share_text, width_of
from asyncdl.status.focus import Focus
from asyncdl.status.sections import Section, full_in_s, sections, stage_lines
from asyncdl.status.snapshot import Snapshot
from asyncdl.status.spans import Line, Pen, Span, beside, clip, restyled, wrapped

WIDE_FROM = 132
"""Columns from which on engines, hosts and errors stand beside the datasets: a VT100's wide mode. Guess."""

GAP_FROM = 32
"""Lines from which on a blank one stands before each section. Guess."""

MAX_LIMIT_LINES = 3
"""Of what bounds it; the rest stands with the hosts and in `status --once`. Guess."""

PRIORITY = ("dataset", "error", "engine", "host", "recent", "running")
"""Who gets the next line first where there are too few."""

WEIGHTS = {"dataset": 3}
"""Of the lines that are left, datasets get three where others get one. Guess."""

ORDER = ("dataset", "error", "host", "engine", "recent")
"""From top to bottom; what is under way is shown where there is much room, below the datasets."""


def board(shot: Snapshot, focus: Focus, size: tuple[int, int], pen: Pen, *, verbs: Collection[str] = ()) -> list[Line]:
    """Return the whole screen. size: (columns, lines). verbs: what can be done, for the last line."""
    columns, n_lines = size
    top = header(shot, columns, pen)
    found = sections(shot, pen)
    room = n_lines - len(top) - 1
    if columns >= WIDE_FROM:
        body = _two_columns(shot, focus, (columns, room), pen, found)
    else:
        stages = stage_lines(shot, pen, columns)
        gap = int(n_lines >= GAP_FROM)
        names = (*ORDER, "running") if gap else ORDER
        body = [*[()] * gap, *stages, *_stacked(found, names, focus, (columns, room - len(stages) - gap), gap)]
    return screen([*top, *body], footer(focus, pen, verbs), size)


def screen(lines: Sequence[Line], last: Line, size: tuple[int, int]) -> list[Line]:
    """Return exactly size[1] lines of size[0] columns, `last` at the end."""
    columns, n_lines = size
    shown = [*lines[: max(n_lines - 1, 0)]]
    shown += [()] * (n_lines - 1 - len(shown))
    return [clip(line, columns) for line in [*shown, last]][:n_lines]


def compact(shot: Snapshot, columns: int, pen: Pen) -> list[Line]:
    """Return the few lines that `run` shows: the header, and what the later stages have done."""
    first, second, *limits = header(shot, columns, pen)
    stages: list[Line] = [(("  ".join(view.stage_texts(shot)), "dim"),)] if view.file_counts(shot)[1] else []
    return [clip(line, columns) for line in [first, second, *stages, *limits]]


def header(shot: Snapshot, columns: int, pen: Pen) -> list[Line]:
    """Return what everything comes down to: state, amounts, ETA; bar, rate, disk; and what bounds it."""
    return [_amounts(shot, columns, pen), _progress(shot, columns, pen), *_limits(shot, columns, pen)]


def _amounts(shot: Snapshot, columns: int, pen: Pen) -> Line:
    state = view.state_text(shot)
    style = {"running": "busy", "waiting": "warn", "done": "good"}.get(state, "")
    mark = {"running": pen.running, "waiting": pen.paused, "done": pen.completed}.get(state, pen.available)
    n_done, n_files = view.file_counts(shot)
    said: list[Span] = [(f"{mark} {state}", style)]
    if n_files:
        said += [(f"{n_done:,}/{count_text(n_files, 'file')}", "bold"), (_bytes(shot), "")]
    else:
        said += [(text, "bold") for text in view.stage_texts(shot)]
    said.append((_eta(shot), "bold"))
    if n_discarded := shot.n_in(State.DISCARDED):
        said.append((f"{n_discarded:,} discarded", "bad"))
    if since := [engine.started_at for engine in shot.engines if engine.is_alive]:
        said.append((f"for {duration_text(shot.at - min(since))}", "dim"))
    return _spread(said, (f"{clock_text(shot.at)} UTC", "dim"), columns)


def _bytes(shot: Snapshot) -> str:
    """Bytes done of all; `of at least` where some sizes are unknown."""
    if shot.remaining_bytes is None:
        return f"{bytes_text(shot.done_bytes)} of at least {bytes_text(shot.known_bytes)}"
    return f"{bytes_text(shot.done_bytes)} of {bytes_text(shot.known_bytes)}"


def _eta(shot: Snapshot) -> str:
    if not shot.n_in(State.RUNNING, State.AVAILABLE):
        return ""
    return "ETA unknown" if shot.eta_s is None else f"ETA {duration_text(shot.eta_s)}"


def _progress(shot: Snapshot, columns: int, pen: Pen) -> Line:
    share = shot.done_bytes / shot.known_bytes if shot.known_bytes else float(not shot.n_in(State.AVAILABLE))
    percent = "  ?" if shot.remaining_bytes is None else share_text(shot.done_bytes, shot.known_bytes)
    if not view.file_counts(shot)[1]:  # all files are of this machine: by jobs
        n_done, n_all = shot.n_in(State.COMPLETED), shot.n_in(*view.STATES)
        share, percent = n_done / n_all if n_all else 0.0, share_text(n_done, n_all) if n_all else ""
    said: list[Span] = [
        (pen.bar(share, columns // 3), "busy" if shot.is_alive else "good"),
        (f"{percent:>4}", "bold"),
        (f"{bytes_text(shot.per_s)}/s", ""),
        (pen.spark(shot.rates, columns // 6), "busy"),
    ]
    return _spread(said, (_disk(shot, columns), "bad" if full_in_s(shot) is not None else "dim"), columns)


def _disk(shot: Snapshot, columns: int) -> str:
    if shot.disk is None:
        return ""
    many = columns >= WIDE_FROM and shot.disk.free_inodes is not None
    inodes = f", {shot.disk.free_inodes:,} inodes" if many else ""
    return f"{bytes_text(shot.disk.free_bytes)} free{inodes}"


def _limits(shot: Snapshot, columns: int, pen: Pen) -> list[Line]:
    """What bounds it, with the option that would help, which stands at the end of what is said."""
    said = [pen.text(line) for line in view.speed_lines(shot)]
    if view.state_text(shot) == "waiting":
        said.insert(0, "no engine works on this queue; asyncdl run starts one")
    if (full_s := full_in_s(shot)) is not None:
        said.insert(0, f"the disk is too small for what is left: full in {duration_text(full_s)}")
    if len(said) > 2:
        said[1:] = [f"{said[1]}; and {len(said) - 2} more"]
    lines = [text for one in said for text in wrapped(one, columns, indent=3, first_indent=1)]
    return [((text, "warn"),) for text in lines[:MAX_LIMIT_LINES]]


def _spread(said: Sequence[Span], right: Span, columns: int) -> Line:
    """Return as many of `said` as fit, two blanks between, and `right` at the right end where there is room."""
    line: list[Span] = []
    used = 0
    for text, style in said:
        if not text:
            continue
        apart = 2 if line else 0
        if line and used + apart + width_of(text) > columns:
            break
        line += [(" " * apart, ""), (text, style)]
        used += apart + width_of(text)
    free = columns - used - width_of(right[0])
    if free >= 2 and right[0]:
        line += [(" " * free, ""), right]
    return clip(tuple(line), columns)


def _two_columns(
    shot: Snapshot, focus: Focus, size: tuple[int, int], pen: Pen, found: Mapping[str, Section]
) -> list[Line]:
    columns, room = size
    widths = (columns // 2, columns - columns // 2 - 3)
    stages = stage_lines(shot, pen, widths[0])
    left = [*stages, *_stacked(found, ("dataset", "running"), focus, (widths[0], room - len(stages)), 1)]
    right = _stacked(found, ORDER[1:], focus, (widths[1], room), 1)
    filled = [*left, *[()] * (room - len(left))][: max(room, 0)]
    return beside(filled, right[: max(room, 0)], widths, pen.rule)


def _stacked(
    found: Mapping[str, Section], names: Sequence[str], focus: Focus, size: tuple[int, int], gap: int
) -> list[Line]:
    """Return the sections one below the other, each in the lines it was allotted."""
    columns, room = size
    wanted = {name: found[name].n + 1 + gap for name in names if name in found}
    lines: list[Line] = []
    for name, n in allot(wanted, room, least=2 + gap).items():
        lines += [*[()] * gap, *_section(found[name], n - gap, columns, focus)]
    return lines


def allot(wanted: Mapping[str, int], room: int, *, least: int) -> dict[str, int]:
    """Return {name: lines}, in the order of `wanted`, together at most `room`.

    Each gets `least` before any gets more, those of PRIORITY first; who cannot have it gets nothing.
    """
    given = dict.fromkeys(wanted, 0)
    by_priority = sorted(wanted, key=PRIORITY.index)
    for name in by_priority:
        if room >= least:
            given[name] = min(least, wanted[name])
            room -= given[name]
    growing = [name for name in by_priority if given[name]]
    while room > 0 and (growing := [name for name in growing if given[name] < wanted[name]]):
        for name in growing:
            more = min(WEIGHTS.get(name, 1), wanted[name] - given[name], room)
            given[name] += more
            room -= more
    return {name: n for name, n in given.items() if n}


def _section(section: Section, height: int, columns: int, focus: Focus) -> list[Line]:
    """Return the heading and a window of the rows that holds the chosen one."""
    n_shown = height - 1
    chosen = section.targets.index(focus.chosen) if focus.chosen in section.targets else None
    first = 0 if chosen is None else min(max(chosen - n_shown // 2, 0), max(section.n - n_shown, 0))
    last = min(first + n_shown, section.n)
    title = section.title if last - first == section.n else f"{section.title}  {first + 1}-{last} of {section.n:,}"
    lines: list[Line] = [((title, "bold" if chosen is None else "title"),)]
    for n in range(first, last):
        line = clip(section.row(n, columns), columns)
        lines.append(restyled(line, "chosen") if n == chosen else line)
    return lines


def footer(focus: Focus, pen: Pen, verbs: Collection[str]) -> Line:
    """Return the note of the last key, or which keys there are."""
    if focus.note:
        return ((f" {pen.text(focus.note)}", "warn"),)
    keys = ["q quit"]
    if focus.page == "board":
        keys += ["tab/arrows choose", *(["enter details"] if focus.chosen else [])]
    else:
        keys += ["esc back", "arrows scroll"]
    keys += [text for verb, text in (("pause", "p pause/resume"), ("retry", "r retry")) if verb in verbs]
    return ((" " + "   ".join([*keys, "? help"]), "dim"),)
