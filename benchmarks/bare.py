"""The floor: what a Python program without any manners pays for bytes. 16 connections, recv_into, pwrite, nothing else.

    python benchmarks/bare.py URL FILE [--connections 16] [--mode select|threads] [--ca FILE]

It checks no digest, no answer beyond its length, resumes nothing and says nothing. Each connection asks once, for one
even share of the file. Only what a downloader must do lies between this and its figure.
"""

from __future__ import annotations

import argparse
import os
import selectors
import socket
import ssl
import threading
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import urlsplit

BLOCK_BYTES = 1 << 18
"""One recv_into and one pwrite. Larger blocks fall out of the cache between the two; smaller ones cost more calls."""


@dataclass
class Share:
    """[at, stop) of the file is still to come over `sock`, whose answer's head was read."""

    sock: socket.socket
    at: int
    stop: int


def connect(url: str, ca: str | None) -> socket.socket:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    sock = socket.create_connection((parts.hostname, parts.port))
    return ssl.create_default_context(cafile=ca).wrap_socket(sock, server_hostname=parts.hostname) if ca else sock


def ask(sock: socket.socket, url: str, headers: str, method: str = "GET") -> tuple[str, bytes]:
    """Return the answer's head and what came of the body with it."""
    parts = urlsplit(url)
    sock.sendall(f"{method} {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{headers}\r\n".encode())
    got = b""
    while b"\r\n\r\n" not in got:
        block = sock.recv(4096)
        if not block:
            raise SystemExit("the server closed before its answer")
        got += block
    head, _, body = got.partition(b"\r\n\r\n")
    return head.decode("latin-1").lower(), body


def size_of(url: str, ca: str | None) -> int:
    with connect(url, ca) as sock:
        head, _ = ask(sock, url, "", "HEAD")
    return int(head.partition("content-length:")[2].split()[0])


def begin(url: str, ca: str | None, file: int, start: int, stop: int) -> Share:
    sock = connect(url, ca)
    head, body = ask(sock, url, f"Range: bytes={start}-{stop - 1}\r\n")
    if " 206 " not in head:
        raise SystemExit(head)
    return Share(sock, start + os.pwrite(file, body, start), stop)


def take(share: Share, file: int, block: memoryview) -> bool:
    """Move one block; return whether more is to come."""
    n = share.sock.recv_into(block[: min(len(block), share.stop - share.at)])
    if n == 0:
        raise SystemExit("the server closed before the end")
    os.pwrite(file, block[:n], share.at)
    share.at += n
    return share.at < share.stop


def by_select(shares: list[Share], file: int) -> None:
    block = memoryview(bytearray(BLOCK_BYTES))
    with selectors.DefaultSelector() as selector:
        for share in shares:
            selector.register(share.sock, selectors.EVENT_READ, share)
        while selector.get_map():
            for key, _ in selector.select():
                if not take(key.data, file, block):
                    selector.unregister(key.fileobj)


def by_threads(shares: list[Share], file: int) -> None:
    def run(share: Share) -> None:
        block = memoryview(bytearray(BLOCK_BYTES))
        while take(share, file, block):
            pass

    threads = [threading.Thread(target=run, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("file")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--mode", choices=("select", "threads"), default="select")
    parser.add_argument("--ca", help="the CA of an https URL; threads only")
    asked = parser.parse_args()
    size, n = size_of(asked.url, asked.ca), asked.connections
    file = os.open(asked.file, os.O_CREAT | os.O_WRONLY)
    os.posix_fallocate(file, 0, size)
    cuts = [size * k // n for k in range(n + 1)]
    shares = [begin(asked.url, asked.ca, file, *cut) for cut in pairwise(cuts)]
    {"select": by_select, "threads": by_threads}[asked.mode](shares, file)


if __name__ == "__main__":
    main()
