"""What the answers for one object say of it, taken together."""

import pytest

from asyncdl.core.ranges import RangeSet
from asyncdl.core.reply import Pinned
from asyncdl.disk.partial import open_partial
from asyncdl.engine.incoming import Incoming
from asyncdl.errors import TransferError


@pytest.fixture
async def incoming(tmp_path):
    """Of an object of which nothing is known; nothing is written, so there is no job and no tools."""
    partial, _ = open_partial(tmp_path / "a.bin", RangeSet(), take_over=False)
    yield Incoming(None, None, partial, Pinned(), RangeSet())
    partial.close()


async def test_an_answer_without_a_validator_takes_none_back(incoming):
    incoming.pin(Pinned(None, '"v1"'))
    incoming.pin(Pinned(100))
    assert incoming.pinned == Pinned(100, '"v1"')
    with pytest.raises(TransferError) as caught:
        incoming.pin(Pinned(100, '"v2"'))
    assert caught.value.error_class == "remote_changed"
