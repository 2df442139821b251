"""An S3 host with a bucket of any number of small objects, none of which it holds: pages and bodies are made when asked.

    python -m tests.support.listed_bucket N     says where it listens, serves until stdin ends

A page has 1000 keys, as AWS's have; every ETag is the md5 of its object, so that digests hold. It wants a signature
and does not check it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from asyncdl.cli import loop

ROOT = Path(__file__).parents[2]
BUCKET, PREFIX = "listed", "many/"
N_PAGE = 1000
ENVIRON = {"AWS_ACCESS_KEY_ID": "AKIALISTED", "AWS_SECRET_ACCESS_KEY": "listed", "AWS_EC2_METADATA_DISABLED": "true"}

_TARGET = re.compile(rf"GET /{BUCKET}([/?][^ ]*) HTTP/1\.1\r\n")
_TOKEN = re.compile(r"[?&]continuation-token=(\d+)")
_RANGE = re.compile(r"(?im)^range: bytes=(\d+)-(\d+)\r$")
_PAGE = """<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{bucket}</Name><Prefix>{prefix}</Prefix>\
<KeyCount>{n}</KeyCount><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType><IsTruncated>{more}</IsTruncated>\
{token}{contents}</ListBucketResult>"""
_OBJECT = """<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
<ETag>&quot;{md5}&quot;</ETag><Size>64</Size><StorageClass>STANDARD</StorageClass></Contents>"""


def key_of(number: int) -> str:
    """A thousand objects to a folder."""
    return f"{PREFIX}{number // N_PAGE:04d}/{number:07d}.bin"


def number_of(key: str) -> int:
    """Return the number in a name that has the form of a key's."""
    return int(key[-len("0000000.bin") : -len(".bin")])


def content_of(number: int) -> bytes:
    """64 bytes, of each object its own."""
    return b"%064d" % number


def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@contextmanager
def bucket_process(n_objects: int) -> Iterator[dict[str, str]]:
    """Yield the environment of a client, its endpoint included. The target is `s3://BUCKET/PREFIX`."""
    command = [sys.executable, "-m", "tests.support.listed_bucket", str(n_objects)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            yield {**ENVIRON, "AWS_ENDPOINT_URL": process.stdout.readline().strip()}
        finally:
            process.kill()


class _Connection(asyncio.Protocol):
    def __init__(self, n_objects: int) -> None:
        self._n_objects = n_objects
        self._came = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *heads, self._came = (self._came + data).split(b"\r\n\r\n")
        for head in heads:
            self._transport.write(self._answer(f"{head.decode()}\r"))

    def _answer(self, head: str) -> bytes:
        match = _TARGET.match(head)
        if match is None or "\nauthorization: AWS4-HMAC-SHA256 " not in head.replace("\nA", "\na"):
            return _reply("403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>")
        if match[1][0] == "?":
            token = _TOKEN.search(match[1])
            return _reply("200 OK", page_of(int(token[1]) if token else 0, self._n_objects))
        number = number_of(match[1])
        if match[1] != f"/{key_of(number)}" or number >= self._n_objects:
            return _reply("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>")
        return _object_reply(content_of(number), _RANGE.search(head))


def page_of(start: int, n_objects: int) -> bytes:
    """Return the page that begins with object `start`; the token of the next page is its first number."""
    stop = min(start + N_PAGE, n_objects)
    token = f"<NextContinuationToken>{stop}</NextContinuationToken>" if stop < n_objects else ""
    contents = "".join(_OBJECT.format(key=key_of(n), md5=md5_of(content_of(n))) for n in range(start, stop))
    more = "true" if token else "false"
    page = _PAGE.format(bucket=BUCKET, prefix=PREFIX, n=stop - start, more=more, token=token, contents=contents)
    return page.encode()


def _object_reply(content: bytes, asked: re.Match[str] | None) -> bytes:
    fields = f'ETag: "{md5_of(content)}"\r\nAccept-Ranges: bytes\r\n'
    if asked is None:
        return _reply("200 OK", content, fields)
    part = content[int(asked[1]) : int(asked[2]) + 1]
    where = f"Content-Range: bytes {asked[1]}-{int(asked[1]) + len(part) - 1}/{len(content)}\r\n"
    return _reply("206 Partial Content", part, fields + where)


def _reply(status: str, body: bytes, fields: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body


async def serve(n_objects: int) -> None:
    """Serve until stdin ends, as it does when whoever started this is gone."""
    server = await asyncio.get_running_loop().create_server(partial(_Connection, n_objects), "127.0.0.1")
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)  # connections that are still open need no farewell


if __name__ == "__main__":
    loop.run(serve(int(sys.argv[1])))
