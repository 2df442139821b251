"""The hub as a program: `python -m asyncdl.demo.hub`. One line of JSON on stdout says where it listens.

Runs until SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from pathlib import Path

from asyncdl.demo.faults import Fault, faults_from_json
from asyncdl.demo.hub import DemoHub
from asyncdl.demo.repos import Repo, files_under


def main(argv: list[str] | None = None) -> None:
    asked = _arguments(argv)
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(asked))
    else:
        uvloop.run(_serve(asked))


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m asyncdl.demo.hub", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="of the hub; 0 takes any free one")
    parser.add_argument("--cdn-port", type=int, default=0, help="of the CDN")
    parser.add_argument(
        "--repo-dir",
        type=_repo,
        action="append",
        metavar="ORG/NAME=PATH",
        help="serve the files below PATH as that dataset, instead of the packaged corpus (repeatable)",
    )
    parser.add_argument("--faults", type=_faults, default=[], metavar="JSON|@FILE", help="a list of fault rules")
    parser.add_argument("--token", help="the only token that is valid")
    return parser.parse_args(argv)


def _repo(text: str) -> Repo:
    name, found, folder = text.partition("=")
    if not found or not Path(folder).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not ORG/NAME=FOLDER")
    return Repo(name, files_under(Path(folder)))


def _faults(text: str) -> list[Fault]:
    try:
        return faults_from_json(json.loads(Path(text[1:]).read_text() if text.startswith("@") else text))
    except (OSError, TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


async def _serve(asked: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    hub = DemoHub(asked.repo_dir, token=asked.token, faults=asked.faults, port=asked.port, cdn_port=asked.cdn_port)
    async with hub:
        print(json.dumps({"endpoint": hub.endpoint, "cdn_endpoint": hub.cdn_endpoint}), flush=True)  # noqa: T201
        await stopped.wait()
