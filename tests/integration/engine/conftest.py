from functools import partial

import pytest

from asyncdl.net.aiohttp_transport import AiohttpTransport
from tests.support.engine import Bench


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture
def short_waits(monkeypatch):
    """The waits between tries, a thousandth of what they are; what is decided stays the same."""
    monkeypatch.setattr("asyncdl.core.retry.SEGMENT_BASE_DELAY_S", 1e-4)
    monkeypatch.setattr("asyncdl.core.retry.BASE_DELAY_S", 1e-3)
    monkeypatch.setattr("asyncdl.engine.scheduler.LOOK_EVERY_S", 0.02)


@pytest.fixture
def short_stall(monkeypatch):
    """A host that sends nothing for a second has stalled."""
    monkeypatch.setattr("asyncdl.engine.run.AiohttpTransport", partial(AiohttpTransport, stall_timeout_s=1.0))
