"""The chart of the rate as the coordinates of an SVG, made on the server: no script draws it, no inline style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asyncdl.status.figures import bytes_text, duration_text

WIDTH, HEIGHT = 600, 96
"""Of the drawing, in its own units; the page scales it."""

GAP_S = 10.0
"""Nobody looked for longer than this: nothing is drawn in between. Guess."""


@dataclass(frozen=True, slots=True)
class Chart:
    """line, area: paths (SVG 2, 9.3). peak: what the upper edge stands for. text: all of it for who does not see it."""

    line: str
    area: str
    peak: str
    text: str
    width: int = WIDTH
    height: int = HEIGHT


def chart(rates: Sequence[tuple[float, float]], now: float, span_s: float) -> Chart:
    """Draw (UTC seconds, bytes per second), in order, over the `span_s` seconds that end at `now`."""
    peak = max((per_s for _, per_s in rates), default=0.0)
    runs = [[_point(at, per_s, now, span_s, peak) for at, per_s in run] for run in _runs(rates)]
    latest = rates[-1][1] if rates else 0.0
    return Chart(
        line="".join("M" + "L".join(f"{x} {y}" for x, y in run) for run in runs),
        area="".join(
            f"M{run[0][0]} {HEIGHT}L" + "L".join(f"{x} {y}" for x, y in run) + f"L{run[-1][0]} {HEIGHT}Z"
            for run in runs
        ),
        peak=f"{bytes_text(peak)}/s",
        text=f"rate over the last {duration_text(span_s)}: now {bytes_text(latest)}/s, at most {bytes_text(peak)}/s",
    )


def _point(at: float, per_s: float, now: float, span_s: float, peak: float) -> tuple[int, int]:
    x = round(WIDTH * (1 - (now - at) / span_s))
    return min(max(x, 0), WIDTH), round(HEIGHT * (1 - per_s / peak)) if peak > 0 else HEIGHT


def _runs(rates: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """Cut where nobody looked for a while."""
    runs: list[list[tuple[float, float]]] = []
    for one in rates:
        if runs and one[0] - runs[-1][-1][0] <= GAP_S:
            runs[-1].append(one)
        else:
            runs.append([one])
    return runs
