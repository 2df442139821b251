"""The servers of the comparison, each a program of its own on loopback: nginx, weed mini (S3), paced.py, the demo hub.

Every one is a context manager that yields where it listens and ends its processes whatever happens. Whether a client
is fast is none of their business; their CPU is never counted.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from runs import bare_env, end_group

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
START_S = 30.0
"""How long a server may take until it answers; a guess far above what any takes."""

S3_KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench-secret", "AWS_REGION": "us-east-1"}
BUCKET = "bench"
GRPC = (("", 0), (".grpc", 10000))

NGINX = """\
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 2048; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; default_type application/octet-stream;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{plain}; root {www}; }}
  server {{ listen 127.0.0.1:{tls} ssl; root {www};
    ssl_certificate {folder}/ca.pem; ssl_certificate_key {folder}/key.pem; ssl_protocols TLSv1.3; }}
}}
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def low_ports(n: int) -> list[int]:
    """Free ports so low that each + 10000 is free too: weed's gRPC, unless told otherwise, is there."""
    found: list[int] = []
    for port in range(20000 + os.getpid() % 10000, 50000):
        with socket.socket() as one, socket.socket() as two:
            try:
                one.bind(("127.0.0.1", port))
                two.bind(("127.0.0.1", port + 10000))
            except OSError:
                continue
            found.append(port)
        if len(found) == n:
            return found
    raise SystemExit("no free ports")


@contextmanager
def server(argv: list[str], folder: Path, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a server until the block ends; then its process group gets SIGTERM, and SIGKILL after two seconds."""
    with (folder / f"{Path(argv[0]).name}.err").open("ab") as log:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            env=bare_env(folder, env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end_group(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(2)
        end_group(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise SystemExit(f"{process.args!r} ended before it said where it listens")
    return line


def await_answer(process: subprocess.Popen[str], answers: Callable[[], bool]) -> None:
    until = time.monotonic() + START_S
    while not answers():
        if process.poll() is not None or time.monotonic() > until:
            raise SystemExit(f"{process.args!r} does not answer")
        time.sleep(0.05)


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def speaks_s3(port: int) -> bool:
    """Any HTTP answer but a 5xx; weed opens its port before the filer behind it is there."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).close()
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
    return True


@contextmanager
def nginx(folder: Path, www: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield (http URL, https URL, CA file) of what lies in `www`. sendfile, one worker, TLS 1.3, a P-256 key."""
    ca = folder / "ca.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", ca],
        check=True, capture_output=True,
    )  # fmt: skip
    plain, tls, conf = free_port(), free_port(), folder / "nginx.conf"
    conf.write_text(NGINX.format(folder=folder, www=www, plain=plain, tls=tls), encoding="utf-8")
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    with server([program, "-e", "stderr", "-p", str(folder), "-c", str(conf)], folder) as process:
        await_answer(process, lambda: accepts(plain) and accepts(tls))
        yield f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{tls}", ca


@contextmanager
def weed(folder: Path, program: Path) -> Iterator[dict[str, str]]:
    """Run `weed mini`; yield the AWS_* variables of its bucket BUCKET, which is empty."""
    (folder / "weed").mkdir()
    names = ("master", "volume", "filer", "s3", "admin")
    ports = dict(zip(names, low_ports(len(names)), strict=True))
    flags = [f"-{name}.port{kind}={port + more}" for name, port in ports.items() for kind, more in GRPC]
    argv = [str(program), "mini", f"-dir={folder}/weed", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false",
            "-admin.ui=false", "-master.telemetry=false", f"-bucket={BUCKET}",
            f"-filer.localSocket={folder}/filer.sock", f"-s3.localSocket={folder}/s3.sock",
            "-s3.port.iceberg=0", "-s3.port.lance=0", *flags]  # fmt: skip
    with server(argv, folder, S3_KEYS) as process:
        await_answer(process, lambda: speaks_s3(ports["s3"]))
        yield {**S3_KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}"}


@contextmanager
def paced(folder: Path, file: Path, port: int, rate: float, slow_every: int) -> Iterator[None]:
    """Serve `file` at `rate` bytes a second per connection; every slow_every-th has 1 % of that, 0 for none."""
    argv = [sys.executable, str(HERE / "paced.py"), str(file), str(rate)]
    with server([*argv, "--port", str(port), "--slow-every", str(slow_every)], folder) as process:
        first_line(process)
        yield


@contextmanager
def hub(folder: Path, repo: str, files: Path) -> Iterator[str]:
    """Serve `files` as a dataset; yield the HF_ENDPOINT."""
    argv = [sys.executable, "-m", "asyncdl.demo.hub", "--repo-dir", f"{repo}={files}"]
    with server(argv, folder, {"PYTHONPATH": str(ROOT)}) as process:
        yield json.loads(first_line(process))["endpoint"]
