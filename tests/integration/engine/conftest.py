import pytest

from tests.support.engine import Bench


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)
