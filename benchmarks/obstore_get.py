"""Fetch every object below a prefix by obstore, as a program that uses it well would: list, then 64 at once to files.

    python benchmarks/obstore_get.py BUCKET PREFIX [--at-once 64]     into the working folder; AWS_* as everywhere

Runs in the peers' own environment and knows nothing of asyncdl.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import obstore
from obstore.store import S3Store


async def fetch(store: S3Store, keys: Iterator[str]) -> None:
    for key in keys:
        answer = await obstore.get_async(store, key)
        Path(os.path.basename(key)).write_bytes(memoryview(await answer.bytes_async()))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bucket")
    parser.add_argument("prefix")
    parser.add_argument("--at-once", type=int, default=64)
    asked = parser.parse_args()
    store = S3Store(
        asked.bucket,
        endpoint=os.environ["AWS_ENDPOINT_URL"],
        region=os.environ["AWS_REGION"],
        client_options={"allow_http": True},
        virtual_hosted_style_request=False,
    )
    keys = iter([found["path"] for page in obstore.list(store, asked.prefix) for found in page])
    await asyncio.gather(*(fetch(store, keys) for _ in range(asked.at_once)))


if __name__ == "__main__":
    asyncio.run(main())
