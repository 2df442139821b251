"""A terminal taken over for a while: the alternate screen, keys one by one, no cursor; and left as it was.

Whatever ends the block gives the terminal back: an exception, a signal that was noted, a suspend. Knows lines of spans,
not what they say.
"""

from __future__ import annotations

import os
import select
import signal
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from asyncdl.status import keys
from asyncdl.status.spans import Line, painted

ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
"""The alternate screen (1049), the cursor (25), wrapping at the edge (7); xterm's ctlseqs, private modes. Without
wrapping a character that is wider than we think spoils its own line alone."""

ESCAPE_S = 0.1
"""How long the rest of a sequence may be on its way before an Esc is the key. Guess: more than a far ssh needs."""

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
NOTED = (*ENDS, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)

FALLBACK_SIZE = (80, 24)


class Screen:
    """Owner of the terminal on `out` (a descriptor) and of the signals; one at a time, in the main thread.

    keyboard: the descriptor that keys come from, None where there is none.
    """

    def __init__(self, out: int, keyboard: int | None, *, encoding: str, is_coloured: bool) -> None:
        self._out = out
        self._keyboard = keyboard
        self._encoding = encoding
        self._is_coloured = is_coloured
        self._noted: list[int] = []
        self._begun = b""
        self._shown: list[str] = []
        self._mode: list[Any] | None = None
        self._wake, self._woken = -1, -1

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take the terminal over while the block runs."""
        with self._signals():
            try:
                self._enter()
                yield
            finally:
                self._leave()

    def size(self) -> tuple[int, int]:
        """Return (columns, lines)."""
        try:
            columns, lines = os.get_terminal_size(self._out)
        except OSError:
            return FALLBACK_SIZE
        return (columns or FALLBACK_SIZE[0], lines or FALLBACK_SIZE[1])

    def draw(self, lines: Sequence[Line]) -> None:
        """Show `lines`, one for each of the screen; only those that changed are written."""
        try:
            self._draw([painted(line, is_coloured=self._is_coloured) for line in lines])
        except OSError:  # EIO: the terminal is gone, which ends us even where no SIGHUP comes
            self._noted.append(signal.SIGHUP)

    def _draw(self, texts: list[str]) -> None:
        if len(texts) != len(self._shown):
            self._write("\x1b[2J")
            self._shown = [""] * len(texts)
        changed = [
            f"\x1b[{n};1H\x1b[2K{text}"  # to erase after it would take the last column: nothing wraps
            for n, (text, before) in enumerate(zip(texts, self._shown, strict=True), 1)
            if text != before
        ]
        self._write("".join(changed))
        self._shown = texts

    def wait(self, timeout_s: float) -> tuple[list[str], int | None]:
        """Wait for keys, a signal or the end of the time; return (keys, signal that ends us or None)."""
        fds = [self._woken] if self._keyboard is None else [self._woken, self._keyboard]
        timeout_s = min(timeout_s, ESCAPE_S) if self._begun else timeout_s
        ready, _, _ = select.select(fds, [], [], max(timeout_s, 0.0))
        pressed: list[str] = []
        if self._keyboard in ready:
            data = self._read()
            pressed, self._begun = keys.read(self._begun + data, is_all=False)
        elif self._begun and not ready:
            pressed, self._begun = keys.read(self._begun, is_all=True)
        if self._woken in ready:
            os.read(self._woken, 4096)
        return pressed, self._handle()

    def _read(self) -> bytes:
        assert self._keyboard is not None
        try:
            data = os.read(self._keyboard, 4096)
        except OSError:  # EIO: the terminal is gone
            data = b""
        if not data:
            self._noted.append(signal.SIGHUP)
        return data

    def _handle(self) -> int | None:
        """Do what the signals since the last call want; return the first that ends us."""
        noted, self._noted = self._noted, []
        for signum in noted:
            if signum in ENDS:
                return signum
            if signum == signal.SIGTSTP:
                self._suspend()
            elif signum == signal.SIGCONT:  # the shell may have set the terminal up for itself
                self._leave()
                self._enter()
            else:
                self._shown = []
        return None

    def _suspend(self) -> None:
        self._leave()
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, before)
        self._noted = [signum for signum in self._noted if signum != signal.SIGCONT]  # the one that woke us
        self._enter()

    def _enter(self) -> None:
        if self._keyboard is not None:
            self._mode = termios.tcgetattr(self._keyboard)
            tty.setcbreak(self._keyboard)
        self._shown = []
        self._write(ENTER)

    def _leave(self) -> None:
        with suppress(OSError):  # the terminal is gone, and with it what there was to restore
            self._write(LEAVE)
        if self._keyboard is not None and self._mode is not None:
            with suppress(termios.error):  # likewise; keys that were not read are not for the shell
                termios.tcsetattr(self._keyboard, termios.TCSAFLUSH, self._mode)
            self._mode = None

    def _write(self, text: str) -> None:
        rest = memoryview(text.encode(self._encoding, "backslashreplace"))
        while rest:
            try:
                rest = rest[os.write(self._out, rest) :]
            except BlockingIOError:  # somebody who shares the terminal made it so
                select.select([], [self._out], [])

    @contextmanager
    def _signals(self) -> Iterator[None]:
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        wakeup = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        before = {signum: signal.signal(signum, self._note) for signum in NOTED}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
            signal.set_wakeup_fd(wakeup)
            os.close(self._woken)
            os.close(self._wake)

    def _note(self, signum: int, _: FrameType | None) -> None:
        """Runs between two steps of Python. The second Ctrl-C need not wait for a disk that hangs."""
        if signum == signal.SIGINT and signum in self._noted:
            raise KeyboardInterrupt
        self._noted.append(signum)
