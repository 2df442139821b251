import pytest

from tests.unit.sources.scripted import ScriptedHub


@pytest.fixture
def hub():
    return ScriptedHub()


@pytest.fixture(autouse=True)
def nobodys_catalog(monkeypatch, tmp_path):
    """No test sees the catalogue of whoever runs it; tests put their own entries here."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("ASYNCDL_DATASETS_SERVER", raising=False)
    place = tmp_path / "config" / "asyncdl" / "catalog"
    place.mkdir(parents=True)
    return place
