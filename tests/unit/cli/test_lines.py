"""Lines to a reader that is too slow: bounded memory, the newest kept, the gap told."""

from __future__ import annotations

import os

import orjson

from asyncdl.cli.lines import Lines


def test_what_finds_no_room_is_dropped_from_the_oldest_on_and_told_where_it_is_missing():
    theirs, ours = os.pipe()
    with open(theirs, "rb") as reader, open(ours, "wb") as writer:
        lines = Lines("test", lambda n_bytes: ours, max_waiting=3)
        block = b"x" * (1 << 20) + b"\n"  # more than a pipe holds: the thread is held up in the midst of it
        lines.put(block)
        first = reader.read(1)  # the thread has taken it
        for n in range(10):
            lines.put(b"%d\n" % n)
        assert lines.n_dropped == 7
        assert first + reader.readline() == block
        assert lines.close()
        writer.close()
        told, *rest = reader.read().splitlines()
    dropped = orjson.loads(told)
    assert (dropped["event"], dropped["n_lines"]) == ("dropped", 7)
    assert rest == [b"7", b"8", b"9"]
