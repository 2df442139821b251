"""A tokenizer on the Hub becomes a local folder of its files, checked against the commit that lists them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from pathlib import Path

import aiofiles
import aiofiles.os

from asyncdl.core.model import Digest
from asyncdl.core.names import SafePath, display, folder_name, quote_path
from asyncdl.core.near import did_you_mean, near
from asyncdl.disk.partial import sync_folder
from asyncdl.errors import ConfigError, RemoteError, UsageError
from asyncdl.net.fetch import Fetcher
from asyncdl.sources.entries import REPO_ID
from asyncdl.sources.hub import Listed, Repo, ask, pin
from asyncdl.sources.refusals import Asked, refusal

KNOWN_TOKENIZERS = {
    "gpt2": "openai-community/gpt2",
    "llama-3": "meta-llama/Meta-Llama-3-8B",
    "llama-3.1": "meta-llama/Llama-3.1-8B",
    "qwen3": "Qwen/Qwen3-0.6B",
}
"""Short names. Models of one family share a tokenizer, so the smallest or first one stands for all."""

NEEDED = SafePath("tokenizer.json")
WELCOME = tuple(
    SafePath(name) for name in ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json")
)

MAX_FILE_BYTES = 64 << 20
"""Twice the largest tokenizer.json known to us (Gemma 3, 33 MB)."""


async def fetch_tokenizer_files(name: str, *, fetcher: Fetcher, endpoint: str, folder: Path) -> Path:
    """Return `<folder>/<org--name>/<commit>/`, which then holds tokenizer.json and what of WELCOME the repo has.

    name: `org/name` or one of KNOWN_TOKENIZERS. Files that are there already and right are not fetched again.
    Raises UsageError where there is no such tokenizer, ConfigError for a gated one or an unwritable folder,
    RemoteError for files that differ from what the Hub lists.
    """
    repo = await pin(fetcher, Asked(endpoint, "models", _repo_id(name), "main", near(name, KNOWN_TOKENIZERS)))
    files = [file async for file in repo.files("", recursive=False) if file.path in (NEEDED, *WELCOME)]
    if all(file.path != NEEDED for file in files):
        raise UsageError(
            f"{repo.asked.repo} has no {NEEDED}",
            hint="choose a model with a fast tokenizer, or give the path of a tokenizer.json",
        )
    place = folder / folder_name(repo.asked.repo) / repo.sha
    try:
        await aiofiles.os.makedirs(place, exist_ok=True)
        for file in sorted(files, key=lambda file: file.path == NEEDED):  # the needed one last: with it all is there
            await _fetch(repo, file, place / file.path)
    except OSError as error:
        raise ConfigError(f"the tokenizer cannot be stored at {place}: {error.strerror}") from error
    return place


def _repo_id(name: str) -> str:
    repo = KNOWN_TOKENIZERS.get(name.casefold(), name)
    if REPO_ID.fullmatch(repo):
        return repo
    raise UsageError(
        f"there is no tokenizer {display(name)}",
        hint=did_you_mean(near(name, KNOWN_TOKENIZERS)) or "name a model of the Hub as org/name, or give a path",
    )


async def _fetch(repo: Repo, file: Listed, path: Path) -> None:
    if await _is_there(file, path):
        return
    if (file.size_bytes or 0) > MAX_FILE_BYTES:
        raise UsageError(f"{path.name} of {repo.asked.repo} has {file.size_bytes} bytes: that is no tokenizer")
    url = f"{repo.origin}/{quote_path(SafePath(path.name))}"
    answer = await ask(repo.fetcher, url, repo.asked, limit_bytes=MAX_FILE_BYTES)
    if answer.status != 200:
        raise refusal(answer, repo.asked)
    if not _is_right(file, answer.body):
        raise RemoteError(
            f"{path.name} of {repo.asked.repo} is not what the Hub lists: its size or digest differs",
            hint="try again; if it stays so, a proxy or mirror serves other bytes",
        )
    await _publish(answer.body, path)


async def _is_there(file: Listed, path: Path) -> bool:
    try:
        async with aiofiles.open(path, "rb") as stored:
            return _is_right(file, await stored.read())
    except FileNotFoundError:
        return False


def _is_right(file: Listed, content: bytes) -> bool:
    if file.size_bytes is not None and file.size_bytes != len(content):
        return False
    return file.digest is None or file.digest == _digest(content, file.digest)


def _digest(content: bytes, like: Digest) -> Digest:
    if like.name == "sha256":
        return Digest("sha256", hashlib.sha256(content).hexdigest())
    header = b"blob %d\0" % len(content)
    return Digest("git-sha1", hashlib.sha1(header + content, usedforsecurity=False).hexdigest())


async def _publish(content: bytes, path: Path) -> None:
    """Another process may publish the same file at the same time: the names differ, the bytes do not."""
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        async with aiofiles.open(partial, "wb") as out:
            await out.write(content)
            await out.flush()
            await asyncio.to_thread(os.fsync, out.fileno())
        await aiofiles.os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    await asyncio.to_thread(sync_folder, path.parent)
