"""The floors of the house: who may import whom. docs/ARCHITECTURE.md draws them; this holds them."""

import ast

import pytest

from tests.support.sources_of import ROOT, module_of, modules

CORE = {"core", "errors"}
NET_AND_DISK = CORE | {"net", "disk", "store"}
MAY_IMPORT = {
    "__init__": {"loader"},
    "__main__": {"cli"},
    "errors": set(),
    "core": {"errors", "workers.contract", "workers.formats"},
    "store": CORE,
    "net": CORE,
    "disk": CORE,
    "sources": NET_AND_DISK,
    "engine": NET_AND_DISK | {"sources", "workers.contract", "workers.entry"},
    "status": CORE | {"store"},
    "loader": CORE,  # what a training script imports: files in docs/FORMATS.md, never the queue
    "demo": set(),  # a judge shares no code with who is judged
    "settings": CORE,
    "cli": NET_AND_DISK | {"sources", "engine", "status", "demo", "settings", "workers.contract", "workers.formats"},
    "workers": set(),
}
NOT_IN_CORE = {"asyncio", "logging", "os", "random", "secrets", "socket", "sqlite3", "threading", "time", "pathlib", "io", "aiohttp", "apsw"}  # fmt: skip
STATUS_READS = ("asyncdl.store.reader", "asyncdl.store.place")
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "base", "misc", "manager", "shared"}


def room_of(name):
    """The room a dotted name lies in; None outside the house. A worker's modules count one by one."""
    steps = name.split(".")
    if steps[0] == "workers":
        return ".".join(steps[:2])
    if steps[0] != "asyncdl":
        return None
    return steps[1] if len(steps) > 1 else "__init__"


def home_of(module):
    return "workers" if module.name.startswith("workers") else room_of(module.name)


def trespasses(module):
    """What `module` imports though it may not, each as a sentence."""
    room = home_of(module)
    for name, line in module.imported():
        target, top = room_of(name), name.partition(".")[0]
        where = f"{module.where}:{line} imports {name}"
        if room == "core" and top in NOT_IN_CORE:
            yield f"{where}: core decides, it does not act"
        if top == "apsw" and room != "store":
            yield f"{where}: only store opens the queue"
        if room == "status" and target == "store" and not name.startswith(STATUS_READS):
            yield f"{where}: status only reads"
        if target is None or target == room or name == "asyncdl.__version__":
            continue
        if room == "workers" and top == "workers":
            continue
        if target not in MAY_IMPORT[room]:
            yield f"{where}: {room} stands below or beside it"


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_no_room_imports_one_above_or_beside_it(room):
    mine = [module for module in modules("asyncdl", "workers") if home_of(module) == room]
    assert mine, f"there is no room {room}"
    assert [sentence for module in mine for sentence in trespasses(module)] == []


def test_every_room_has_its_floor():
    assert {home_of(module) for module in modules("asyncdl", "workers")} == set(MAY_IMPORT)


PLANTED = [
    ("asyncdl/core/x.py", "import os"),
    ("asyncdl/core/x.py", "from time import monotonic"),
    ("asyncdl/core/x.py", "def f():\n    import asyncio"),
    ("asyncdl/core/x.py", "from asyncdl.net import gates"),
    ("asyncdl/core/x.py", "import asyncdl.store.writer"),
    ("asyncdl/errors.py", "from asyncdl.core import names"),
    ("asyncdl/store/x.py", "from asyncdl.disk.partial import Partial"),
    ("asyncdl/net/x.py", "from asyncdl import store"),
    ("asyncdl/net/x.py", "import apsw"),
    ("asyncdl/disk/x.py", "if True:\n    from asyncdl.net import client"),
    ("asyncdl/sources/x.py", "from asyncdl.engine.run import Engine"),
    ("asyncdl/engine/x.py", "from asyncdl.status import view"),
    ("asyncdl/engine/x.py", "from workers.tokenize_file import run"),
    ("asyncdl/engine/x.py", "from asyncdl.cli import say"),
    ("asyncdl/engine/x.py", "from asyncdl.demo.hub import DemoHub"),
    ("asyncdl/status/x.py", "from asyncdl.engine import run"),
    ("asyncdl/status/x.py", "from asyncdl.store.writer import Writer"),
    ("asyncdl/demo/x.py", "from asyncdl.core.names import display"),
    ("asyncdl/x.py", "from asyncdl.cli import main"),
    ("workers/x.py", "from asyncdl.core.names import display"),
    ("workers/x.py", "import asyncdl"),
]


@pytest.mark.parametrize(("place", "text"), PLANTED)
def test_a_planted_trespass_is_found(place, text, monkeypatch):
    monkeypatch.setitem(MAY_IMPORT, "x", set())
    assert list(trespasses(module_of(text, ROOT / place)))


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("asyncdl/engine/x.py", "from asyncdl.store.jobs import Jobs\nfrom workers import entry\nimport asyncio"),
        ("asyncdl/net/x.py", "from asyncdl import __version__\nimport socket"),
        ("asyncdl/cli/x.py", "from asyncdl.demo.hub import DemoHub"),
        ("workers/x.py", "from workers.contract import Task\nimport numpy"),
    ],
)
def test_what_is_allowed_is_let_through(place, text):
    assert list(trespasses(module_of(text, ROOT / place))) == []


def test_no_module_has_a_name_that_says_nothing():
    assert [
        module.where for module in modules("asyncdl", "workers") if module.path.stem in NAMES_THAT_SAY_NOTHING
    ] == []


def test_the_contract_needs_the_standard_library_alone():
    [contract] = [module for module in modules("workers") if module.name == "workers.contract"]
    tops = {node.module for node in ast.walk(contract.tree) if isinstance(node, ast.ImportFrom)}
    assert tops <= {"__future__", "dataclasses", "typing"}
