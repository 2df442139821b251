"""Every rule here holds under asyncio's own loop and under uvloop, which the engine runs on."""

import asyncio
import os
import shutil
import socket
import ssl
import subprocess

import pytest
import uvloop

from tests.conformance.stages import aiohttp_alone, with_bodies


def pytest_asyncio_loop_factories(config, item):
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=[aiohttp_alone, with_bodies], ids=["aiohttp", "own"])
def real(request):
    """What makes a transport that opens sockets; takes stall_timeout_s."""
    return request.param


@pytest.fixture
def names(monkeypatch):
    """A name server of the test's own: {host: [address, ...]}; other names do not exist."""
    known = {}

    async def look_up(host, port):
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in known[host]]

    monkeypatch.setattr("asyncdl.net.resolve._look_up", look_up)
    return known


@pytest.fixture
def certificate(tmp_path):
    """(certificate, key) that no authority has signed."""
    if shutil.which("openssl") is None:
        pytest.skip("NOT TESTED: no openssl to make a certificate with")
    paths = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-out", paths[0], "-keyout", paths[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    return paths


@pytest.fixture
def tls(certificate):
    """The server's side."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


@pytest.fixture
def trusted(certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))


@pytest.fixture
def n_descriptors():
    return lambda: len(os.listdir("/proc/self/fd"))
