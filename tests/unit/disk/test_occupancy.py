import pytest

from asyncdl.disk.occupancy import LOCK_NAME, occupied
from asyncdl.errors import ConfigError


def test_engines_on_one_queue_share_a_data_dir(tmp_path):
    with occupied(tmp_path / "data", tmp_path / "q"), occupied(tmp_path / "data", tmp_path / "q"):
        assert (tmp_path / "data" / LOCK_NAME).exists()


def test_another_queue_is_refused_while_one_is_at_work(tmp_path):
    with (
        occupied(tmp_path, tmp_path / "q"),
        pytest.raises(ConfigError, match="another queue"),
        occupied(tmp_path, tmp_path / "other"),
    ):
        raise AssertionError("two queues over one data dir")


def test_another_queue_may_have_it_afterwards(tmp_path):
    with occupied(tmp_path, tmp_path / "a-queue-with-a-long-name"):
        pass
    with occupied(tmp_path, tmp_path / "q"), occupied(tmp_path, tmp_path / "q"):
        pass
