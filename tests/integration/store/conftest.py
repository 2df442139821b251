from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.store.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "queue.sqlite")
    yield rig
    rig.close()
