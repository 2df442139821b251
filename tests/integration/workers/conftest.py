import pytest

from tests.integration.workers.samples import train_tokenizer


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory):
    return train_tokenizer(tmp_path_factory.mktemp("tokenizer"))
