"""The dashboard on a terminal: takes snapshots, draws them, hands keys to `focus`, and does what those ask for.

I/O only: what is shown is decided in `pages`, what keys mean in `focus`, how a terminal is treated in `screen`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from asyncdl.errors import AsyncdlError
from asyncdl.status import pages
from asyncdl.status.focus import Ask, Focus, Target, choices, press
from asyncdl.status.screen import Screen
from asyncdl.status.snapshot import Snapshot
from asyncdl.status.spans import Pen
from asyncdl.status.trend import Trend

MIN_INTERVAL_S = 0.25
"""Four looks a second at most: the reader shares its machine with the engine."""

Action = Callable[[Target], str]
"""Does what was asked for with what was chosen, and returns what to say of it. Raises AsyncdlError."""


def run(
    take: Callable[[], Snapshot], actions: Mapping[str, Action], screen: Screen, pen: Pen, *, interval_s: float
) -> int | None:
    """Show what `take` returns, anew every interval_s, until a key or a signal ends it; return that signal.

    actions: {verb of focus.Ask: what does it}; what is not in it is shown as switched off. The terminal is left as it
    was, whatever ends this. Raises what `take` raises.
    """
    focus, trend = Focus(), Trend()
    with screen.taken():
        shot, taken_at = trend.follow(take()), time.monotonic()
        while True:
            size = screen.size()
            screen.draw(pages.render(shot, focus, size, pen, actions))
            pressed, signum = screen.wait(taken_at + max(interval_s, MIN_INTERVAL_S) - time.monotonic())
            if signum is not None:
                return signum
            rows = choices(shot) if pressed else ()
            for key in pressed:
                far = pages.reach(shot, focus, size, pen)
                focus = press(focus, key, rows, verbs=actions, reach=far)
                if focus.asked is not None:
                    focus = replace(focus, note=_done(focus.asked, actions), asked=None)
                    taken_at = -math.inf  # what it changed is seen at once
                if focus.is_over:
                    return None
            if time.monotonic() - taken_at >= max(interval_s, MIN_INTERVAL_S):
                shot, taken_at = trend.follow(take()), time.monotonic()


def _done(ask: Ask, actions: Mapping[str, Action]) -> str:
    try:
        return actions[ask.verb](ask.target)
    except AsyncdlError as error:
        return f"{ask.verb} failed: {error.message}" + (f"; {error.hint}" if error.hint else "")
