"""The rows of the comparison: what is fetched, from which server, by whom. Each is a context manager that yields a Row.

A row makes its files and servers and takes them away again; how its clients are measured it does not know.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import origins
import peers
from runs import LIMIT_S, Client, run, say, sha256_of

GIB, MIB = 1 << 30, 1 << 20
CONNECTIONS = 16
N_OBJECTS, OBJECT_BYTES = 5_000, 64 << 10
N_MANY, MANY_BYTES = 20_000, 16 << 10
PREFIX = "o/"
RATE_PER_S = 6.0 * MIB
"""Of one paced connection: 1 GiB over 16 takes 11 s, long beside a start-up, and costs the server little."""

PATIENCE = 6
"""A client that takes this many times the ideal over a slow connection is ended, and counted as at least that slow."""

REPO = "bench/files"


@dataclass(frozen=True)
class Bench:
    """What every row needs. work: on tmpfs, ours alone. big: of size_bytes, below www. http, https: no last slash."""

    work: Path
    programs: Path
    size_bytes: int
    http: str
    https: str
    ca: Path
    sha256: str

    @property
    def www(self) -> Path:
        return self.work / "www"

    @property
    def big(self) -> Path:
        return self.www / "big"


@dataclass(frozen=True)
class Row:
    """Clients that do the same work. amount: CPU seconds are divided by it for `unit`. digests: {name: sha256}.

    around: what a single run needs, made anew for it. ideal_s: the wall time nobody can beat, where there is one.
    """

    title: str
    unit: str
    amount: float
    clients: list[Client]
    digests: dict[str, str]
    note: str = ""
    limit_s: float = LIMIT_S
    ideal_s: float | None = None
    n_rounds: int | None = None
    around: Callable[[], AbstractContextManager[None]] = nullcontext


def size_text(size_bytes: int) -> str:
    return f"{size_bytes / GIB:g} GiB" if size_bytes >= GIB else f"{size_bytes / MIB:g} MiB"


def make_file(path: Path, size_bytes: int) -> str:
    """Write random bytes; return their sha256. In small blocks: a child's peak is seen only above our own."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for at in range(0, size_bytes, MIB):
            block = os.urandom(min(MIB, size_bytes - at))
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def fill(folder: Path, n: int, size_bytes: int) -> dict[str, str]:
    """Make n files of random bytes; return {name: sha256}. Beside the folder, a list of their names and sizes."""
    folder.mkdir(parents=True)
    digests = {}
    for number in range(n):
        name = f"{number:06d}.bin"
        digests[name] = make_file(folder / name, size_bytes)
    listing = "".join(f"{name} {size_bytes}\n" for name in digests)
    folder.with_name(f"{folder.name}.list").write_text(listing, encoding="utf-8")
    return digests


@contextmanager
def plain(bench: Bench) -> Iterator[Row]:
    url = f"{bench.http}/big"
    clients = [
        peers.ours("asyncdl", CONNECTIONS, peers.enqueue(url)),
        peers.aria2(url, bench.sha256),
        peers.aria2(url, None),
        peers.curl(url),
        peers.wget2(url),
        peers.bare(url, "select"),
        peers.bare(url, "threads"),
    ]
    title = f"One file of {size_text(bench.size_bytes)}, plain HTTP, {CONNECTIONS} connections"
    yield Row(title, "s/GiB", bench.size_bytes / GIB, clients, {"big": bench.sha256})


@contextmanager
def tls(bench: Bench) -> Iterator[Row]:
    url, ca = f"{bench.https}/big", bench.ca
    clients = [
        peers.ours("asyncdl", CONNECTIONS, peers.enqueue(url), {"SSL_CERT_FILE": str(ca)}),
        peers.aria2(url, bench.sha256, ca),
        peers.aria2(url, None, ca),
        peers.curl(url, ca),
        peers.wget2(url, ca),
        peers.bare(url, "threads", ca),
    ]
    title = f"One file of {size_text(bench.size_bytes)}, TLS 1.3, {CONNECTIONS} connections"
    note = "Every client verifies the certificate."
    yield Row(title, "s/GiB", bench.size_bytes / GIB, clients, {"big": bench.sha256}, note)


@contextmanager
def objects(bench: Bench) -> Iterator[Row]:
    """From weed mini. Until `asyncdl enqueue s3://` is there, asyncdl's line is the same objects over nginx."""
    folder = bench.www / "objects"
    digests = fill(folder, N_OBJECTS, OBJECT_BYTES)
    programs = bench.programs
    with origins.weed(bench.work, programs / "weed") as env:
        put(peers.upload(programs, env, folder, PREFIX), bench)
        mine, note = s3_or_http(bench, env, 64, folder)
        clients = [mine, peers.s5cmd(programs, None, env, PREFIX), peers.s5cmd(programs, 64, env, PREFIX),
                   peers.obstore(programs, env, PREFIX)]  # fmt: skip
        yield Row(
            f"{N_OBJECTS:,} objects of 64 KiB from S3 (weed mini)", "us/object", N_OBJECTS / 1e6, clients, digests, note
        )
    drop(folder)


@contextmanager
def objects_http(bench: Bench) -> Iterator[Row]:
    folder = bench.www / "objects"
    digests = fill(folder, N_OBJECTS, OBJECT_BYTES)
    url, names, scratch = f"{bench.http}/objects", list(digests), bench.work
    clients = [
        peers.ours("asyncdl", 64, peers.enqueue_urls(url, listing_of(folder))),
        peers.curl_many(url, names, scratch / "curl.conf"),
        peers.aria2_many(url, names, scratch / "aria2.list"),
        peers.wget2_many(url, names, scratch / "wget2.list"),
    ]
    title = f"{N_OBJECTS:,} objects of 64 KiB over plain HTTP"
    yield Row(title, "us/object", N_OBJECTS / 1e6, clients, digests, "Only asyncdl computes digests.")
    drop(folder)


def paced(bench: Bench, title: str, slow_every: int, ideal_s: float) -> Row:
    port = origins.free_port()
    url = f"http://127.0.0.1:{port}/big"
    clients = [peers.ours("asyncdl", CONNECTIONS, peers.enqueue(url)), peers.aria2(url, bench.sha256)]
    return Row(
        title, "s/GiB", bench.size_bytes / GIB, clients, {"big": bench.sha256},
        f"{RATE_PER_S / MIB:.0f} MiB/s a connection; ideal {ideal_s:.1f} s. Who takes {PATIENCE} times that is ended.",
        limit_s=PATIENCE * ideal_s, ideal_s=ideal_s,
        around=lambda: origins.paced(bench.work, bench.big, port, RATE_PER_S, slow_every),
    )  # fmt: skip


@contextmanager
def limited(bench: Bench) -> Iterator[Row]:
    title = f"One file of {size_text(bench.size_bytes)}, each connection limited"
    yield paced(bench, title, 0, bench.size_bytes / RATE_PER_S / CONNECTIONS)


@contextmanager
def slow(bench: Bench) -> Iterator[Row]:
    title = f"One file of {size_text(bench.size_bytes)}, one of {CONNECTIONS} connections at 1 % speed"
    yield paced(bench, title, CONNECTIONS, bench.size_bytes / RATE_PER_S / (CONNECTIONS - 1 + 0.01))


@contextmanager
def hub(bench: Bench) -> Iterator[Row]:
    folder = bench.work / "hub"
    n_files = 16
    digests = fill(folder, n_files, bench.size_bytes // n_files)
    with origins.hub(bench.work, REPO, folder) as endpoint:
        env = {"HF_ENDPOINT": endpoint}
        clients = [
            peers.ours("asyncdl", CONNECTIONS, peers.enqueue(REPO), env),
            peers.hf(bench.programs, endpoint, REPO),
        ]
        title = f"{n_files} files of {size_text(bench.size_bytes // n_files)} from a Hub"
        note = "The hub is the demo's, in Python; it bounds the wall time."
        yield Row(title, "s/GiB", bench.size_bytes / GIB, clients, digests, note)
    drop(folder)


@contextmanager
def memory_file(bench: Bench) -> Iterator[Row]:
    """A sparse file: what is read of it are zeros, which nobody here compresses."""
    file = bench.www / "large"
    with file.open("wb") as made:
        made.truncate(2 * GIB)
    clients = [peers.ours("asyncdl run --workers 128", 128, peers.enqueue(f"{bench.http}/large"))]
    yield Row("Memory: one file of 2 GiB", "s/GiB", 2, clients, {"large": sha256_of(file)}, n_rounds=1)
    file.unlink()


@contextmanager
def memory_objects(bench: Bench) -> Iterator[Row]:
    folder = bench.www / "many"
    digests = fill(folder, N_MANY, MANY_BYTES)
    with origins.weed(bench.work, bench.programs / "weed") as env:
        put(peers.upload(bench.programs, env, folder, PREFIX), bench)
        mine, note = s3_or_http(bench, env, 128, folder)
        title = f"Memory: {N_MANY:,} objects of 16 KiB"
        yield Row(title, "us/object", N_MANY / 1e6, [mine], digests, note, n_rounds=1)
    drop(folder)


def s3_or_http(bench: Bench, env: dict[str, str], workers: int, folder: Path) -> tuple[Client, str]:
    """asyncdl over S3 where it gets a first object so, else over nginx; and the note that says so."""
    target = f"s3://{origins.BUCKET}/{PREFIX}"
    first = peers.ours("asyncdl", 1, [*peers.enqueue(target), "--max-files", "1"], env)
    tried = run(first, bench.work / "run", {}, LIMIT_S)
    if not tried.fault:
        return peers.ours("asyncdl", workers, peers.enqueue(target), env), ""
    say(f"asyncdl cannot fetch {target}, nginx takes its place: {tried.fault}")
    command = peers.enqueue_urls(f"{bench.http}/{folder.name}", listing_of(folder))
    note = f"**asyncdl fetched from nginx, for this version fetches no {target}.** Its ratios are of different servers."
    return peers.ours("asyncdl (nginx, not S3)", workers, command), note


def put(client: Client, bench: Bench) -> None:
    usage = run(client, bench.work / "run", {}, LIMIT_S)
    if usage.fault:
        raise SystemExit(f"uploading: {usage.fault}")


def listing_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.list")


def drop(folder: Path) -> None:
    shutil.rmtree(folder)
    listing_of(folder).unlink()
    shutil.rmtree(folder.parent.parent / "weed", ignore_errors=True)


ROWS: dict[str, Callable[[Bench], AbstractContextManager[Row]]] = {
    "plain": plain,
    "tls": tls,
    "objects": objects,
    "objects-http": objects_http,
    "limited": limited,
    "slow": slow,
    "hub": hub,
    "memory-file": memory_file,
    "memory-objects": memory_objects,
}
