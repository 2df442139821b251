"""A snapshot as rich renderables: a few rows for `run`, everything for `status`. Pure; what is said is in `view`.

Names are rendered as text, never as rich's markup.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from asyncdl.core.states import State
from asyncdl.status import view
from asyncdl.status.figures import utc_text
from asyncdl.status.snapshot import Snapshot

_COLOURS = {State.RUNNING: "cyan", State.DISCARDED: "red", State.COMPLETED: "green", State.AVAILABLE: "default"}


def compact(shot: Snapshot) -> RenderableType:
    """Return the few rows that `run` shows on a terminal: the headline, a bar, the later stages, what bounds it."""
    bar = ProgressBar(total=max(shot.known_bytes, 1), completed=shot.done_bytes, width=view.COLUMNS // 2)
    stages = "  ".join(
        f"{kind} {counts[State.COMPLETED]:,}/{sum(counts.values()):,}" for kind, counts in view.stage_counts(shot)
    )
    return Group(
        Text(view.headline(shot), no_wrap=True, overflow="ellipsis"),
        bar,
        Text(stages, style="dim", no_wrap=True, overflow="ellipsis"),
        *(Text(line, no_wrap=True, overflow="ellipsis") for line in view.speed_lines(shot)),
    )


def full(shot: Snapshot) -> RenderableType:
    """Return everything, for a terminal: headline, stages, datasets, errors, engines."""
    parts: list[RenderableType] = [
        Text(view.headline(shot), style="bold"),
        Text(utc_text(shot.at), style="dim"),
        Text(),
    ]
    parts += [_rich_stages(shot), Text(), *_rich_datasets(shot)]
    for row in shot.errors:
        title, example, hint = view.error_lines(row, shot.at)
        parts += [Text(title, style="red"), Text(f"  {example}", style="dim"), Text(f"  {hint}")]
    parts += [
        Text("\n".join(view.engine_lines(engine, shot.at)), style="dim" if engine.is_alive else "red")
        for engine in shot.engines
    ]
    parts += [Text(line) for line in view.pause_lines(shot)]
    return Group(*parts)


def _rich_stages(shot: Snapshot) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("jobs")
    for state in view.STATES:
        table.add_column(state, justify="right")
    for kind, counts in view.stage_counts(shot):
        table.add_row(kind, *(f"{counts[state]:,}" for state in view.STATES))
    return table


def _rich_datasets(shot: Snapshot) -> Sequence[RenderableType]:
    rows, more = view.dataset_cells(shot)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    group = ""
    for row in rows:
        if row.group != group:
            group = row.group
            table.add_row(Text(group, style="bold"))
        bar = ProgressBar(total=1.0, completed=row.share, width=view.BAR_CELLS)
        state = Text(row.state, style=_COLOURS[row.state])
        table.add_row(Text(f"  {row.title}", overflow="ellipsis", no_wrap=True), bar, row.percent, row.files, state)
    return [table, Text(more, style="dim")]
