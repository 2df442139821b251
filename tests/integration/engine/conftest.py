import pytest

from asyncdl.core.plan import SEGMENT_BYTES
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
def even_segments(monkeypatch):
    """Every segment is SEGMENT_BYTES long, whatever the rate, so that a test can count requests."""
    monkeypatch.setattr("asyncdl.core.plan.MIN_SEGMENT_BYTES", SEGMENT_BYTES)
    monkeypatch.setattr("asyncdl.core.plan.MAX_SEGMENT_BYTES", SEGMENT_BYTES)


@pytest.fixture
def at_once(monkeypatch):
    """As many requests as there are slots from the first moment on: nothing is found out about the host."""
    monkeypatch.setattr("asyncdl.core.pace.START", 1 << 20)
