"""What holds for every test: how hard hypothesis tries, and that nothing of this machine's surroundings leaks in."""

import os

import pytest
from hypothesis import settings

settings.register_profile("local", deadline=None, max_examples=30)
settings.register_profile("ci", deadline=None, max_examples=30, derandomize=True, print_blob=True)
settings.register_profile("quick", deadline=None, max_examples=8, database=None)
settings.register_profile("long", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "local"))

_SURROUNDINGS = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "NETRC")


@pytest.fixture(scope="session", autouse=True)
def no_budget_of_memory():
    """What runs in this process has the memory of all tests before it: tokenizers are let go of where a test says so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.tokenize_file._RSS_BYTES", 1 << 62)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_surroundings():
    """Proxies and tokens of whoever runs the tests stay out of them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _SURROUNDINGS:
            patch.delenv(name, raising=False)
            patch.delenv(name.lower(), raising=False)
        yield
