"""The loop of the live view: what it draws, asks and does, on a screen that follows a script."""

from __future__ import annotations

import signal
from contextlib import contextmanager

import pytest

from asyncdl.errors import NoRoomError
from asyncdl.status import live
from asyncdl.status.focus import choices
from asyncdl.status.spans import UNICODE, plain
from tests.support.shots import dataset, error, shot

SHOT = shot(datasets=(dataset("a"),), errors=(error(),))
DATASET, ERROR = choices(SHOT)


class ScriptedScreen:
    """Gives what each `wait` of the script has: keys, or a signal. drawn: texts. is_taken: whether it has the terminal."""

    def __init__(self, *script):
        self._script = list(script)
        self.drawn = []
        self.is_taken = False

    @contextmanager
    def taken(self):
        self.is_taken = True
        try:
            yield
        finally:
            self.is_taken = False

    def size(self):
        return 80, 24

    def draw(self, lines):
        assert self.is_taken
        self.drawn.append(plain(lines))

    def wait(self, timeout_s):
        step = self._script.pop(0)
        return ([], step) if isinstance(step, int) else (step, None)


class Looks:
    """Counts how often it was looked at."""

    def __init__(self):
        self.n = 0

    def __call__(self):
        self.n += 1
        return SHOT


def run(screen, actions=None, take=None):
    return live.run(take or Looks(), actions or {}, screen, UNICODE, interval_s=0.0)


def test_q_ends_it_and_the_terminal_is_given_back():
    screen = ScriptedScreen([], ["?"], ["q"])
    assert run(screen) is None
    assert not screen.is_taken
    assert "quit; the last snapshot stays" in screen.drawn[-1]


def test_a_signal_ends_it_and_is_returned():
    assert run(ScriptedScreen([], int(signal.SIGTERM))) == signal.SIGTERM


def test_what_a_look_raises_ends_it_and_the_terminal_is_given_back():
    def broken():
        raise NoRoomError("full")

    screen = ScriptedScreen()
    with pytest.raises(NoRoomError):
        run(screen, take=broken)
    assert not screen.is_taken


def test_p_and_r_do_what_they_say_with_what_is_chosen_and_look_again_at_once():
    done, take = [], Looks()

    def pause(target):
        done.append(("pause", target))
        return "paused a"

    def retry(target):
        done.append(("retry", target))
        return "2 jobs\x1b[2J retried"

    screen = ScriptedScreen(["tab", "p"], ["down", "r"], ["x"], ["q"])
    run(screen, {"pause": pause, "retry": retry}, take)
    assert done == [("pause", DATASET), ("retry", ERROR)]
    assert screen.drawn[1].splitlines()[-1] == " paused a"
    assert screen.drawn[2].splitlines()[-1] == r" 2 jobs\x1b[2J retried"
    assert "retried" not in screen.drawn[3]
    assert take.n >= 3


def test_between_looks_keys_are_answered_without_another_look():
    take, acted = Looks(), Looks()
    live.run(take, {}, ScriptedScreen(["?"], ["?"], ["q"]), UNICODE, interval_s=1e9)
    assert take.n == 1
    live.run(acted, {"pause": str}, ScriptedScreen(["tab", "p"], ["x"], ["q"]), UNICODE, interval_s=1e9)
    assert acted.n == 2  # what the action changed is seen at once


def test_an_action_that_fails_is_told_and_ends_nothing():
    def pause(target):
        raise NoRoomError("the disk is full", hint="make room")

    screen = ScriptedScreen(["tab", "p"], ["q"])
    assert run(screen, {"pause": pause}) is None
    assert screen.drawn[1].splitlines()[-1] == " pause failed: the disk is full; make room"


def test_without_actions_nothing_is_done_and_it_says_so():
    screen = ScriptedScreen(["tab", "p"], ["q"])
    run(screen)
    assert screen.drawn[1].splitlines()[-1] == " pause is switched off here"
