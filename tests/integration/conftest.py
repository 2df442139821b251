import pytest

from tests.support.weed import weed_server


@pytest.fixture(scope="session")
def weed(tmp_path_factory):
    """One S3 server for all tests; each makes buckets of its own."""
    with weed_server(tmp_path_factory.mktemp("weed")) as running:
        yield running
