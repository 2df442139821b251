"""A range server whose connections each have a speed: the origin of the rows about slow and limited connections.

    python benchmarks/paced.py FILE RATE [--port N] [--slow-every 16] [--slow-factor 0.01]

RATE: bytes a second, of one connection. Every `--slow-every`-th connection that is accepted, the sixth first, runs at
`--slow-factor` of it. Prints its port and serves FILE under any path, by GET and HEAD, with and without one range.

nginx's limit_rate does not do here: it grants every request the bytes of its first second at once, so that 20 requests
of one second's worth each over one connection took 0.01 s instead of 20.
"""

from __future__ import annotations

import argparse
import asyncio
import mmap
import re
import time
from itertools import count
from pathlib import Path

TICK_S = 0.01
"""How often a connection sends; a guess that keeps the server's own CPU small and its speed even."""

SLOW_TURN = 5
"""Which of every 16 connections is the slow one. Not the first, which many clients treat apart."""


class Pace:
    """What one connection may send. Time in which it had nothing to send earns nothing."""

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._owed = 0.0
        self._at = time.monotonic()

    def begin(self) -> None:
        self._at = time.monotonic()

    def earned(self) -> int:
        """Return how many whole bytes were earned since the last call."""
        now = time.monotonic()
        self._owed += (now - self._at) * self._bytes_per_s
        self._at = now
        whole = int(self._owed)
        self._owed -= whole
        return whole


class Server:
    def __init__(self, data: memoryview, bytes_per_s: float, slow_every: int, slow_factor: float) -> None:
        self._data = data
        self._bytes_per_s = bytes_per_s
        self._slow_every, self._slow_factor = slow_every, slow_factor
        self._numbers = count()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        slow = self._slow_every and next(self._numbers) % self._slow_every == SLOW_TURN
        pace = Pace(self._bytes_per_s * (self._slow_factor if slow else 1.0))
        writer.transport.set_write_buffer_limits(high=0)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await self._answer(head.decode("latin-1"), writer, pace)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is done
        finally:
            writer.close()

    async def _answer(self, head: str, writer: asyncio.StreamWriter, pace: Pace) -> None:
        total = len(self._data)
        asked = re.search(r"^range: *bytes=(\d+)-(\d*)\r?$", head, re.IGNORECASE | re.MULTILINE)
        start = int(asked[1]) if asked else 0
        stop = min(int(asked[2]) + 1, total) if asked and asked[2] else total
        extra = f"Content-Range: bytes {start}-{stop - 1}/{total}\r\n" if asked else ""
        status = "206 Partial Content" if asked else "200 OK"
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Length: {stop - start}\r\nAccept-Ranges: bytes\r\nConnection: keep-alive\r\n"
            f'Content-Type: application/octet-stream\r\nETag: "one"\r\n{extra}\r\n'.encode()
        )
        if head.startswith("HEAD "):
            return
        pace.begin()
        while start < stop:
            await asyncio.sleep(TICK_S)
            n = min(pace.earned(), stop - start)
            writer.write(self._data[start : start + n])
            await writer.drain()
            start += n


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("rate", type=float)
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--slow-every", type=int, default=0, help="0: none is slow")
    parser.add_argument("--slow-factor", type=float, default=0.01)
    asked = parser.parse_args()
    with asked.file.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    server = Server(data, asked.rate, asked.slow_every, asked.slow_factor)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", asked.port, backlog=256)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
