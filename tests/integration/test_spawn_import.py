"""A spawned worker loads what its task needs and nothing of the engine, whatever program its parent is.

Spawn runs the parent's main file again in the child, so a heavy import at the top of the command line would
be paid by every worker. The second case therefore gives the parent the main file that an installer makes.
"""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]

ENGINE = ("asyncdl.engine", "asyncdl.net", "asyncdl.store", "rich", "aiohttp", "apsw", "tokenizers")

PARENT = """
import json, multiprocessing, sys
from pebble import ProcessPool
from workers import entry
from workers.contract import VerifyTask

if __name__ == "__main__":
    parquet, main_file = sys.argv[1:]
    sys.modules["__main__"].__file__ = main_file  # what spawn has the child run
    task = VerifyTask(path=parquet, size_bytes=None, required_columns=(), decode=True)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPool(1, initializer=entry.prepare, initargs=(8 << 30,), context=spawn) as pool:
        checks = pool.schedule(entry.run, [task]).result().checks
        modules = pool.schedule(eval, ["sorted(__import__('sys').modules)"]).result()
    print(json.dumps([checks, modules]))
"""

ENTRY_SHIM = """
import re
import sys
from {module} import {function}
if __name__ == "__main__":
    sys.argv[0] = re.sub(r"(-script\\.pyw|\\.exe)?$", "", sys.argv[0])
    sys.exit({function}())
"""


def run_python(*arguments):
    """stdout of a Python that sees this tree and nothing of pytest."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules_of_a_worker(tmp_path, main_file):
    parquet = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a"]}), parquet)
    parent = tmp_path / "parent.py"
    parent.write_text(PARENT)
    checks, modules = json.loads(run_python(parent, parquet, main_file or parent))
    assert "decode" in checks
    return modules


def of(names, packages):
    return [name for name in names if any(name == p or name.startswith(p + ".") for p in packages)]


def test_a_worker_that_verifies_loads_neither_the_project_nor_the_tokenizer(tmp_path):
    modules = modules_of_a_worker(tmp_path, None)
    assert of(modules, ["workers.verify"]) == ["workers.verify"]
    assert of(modules, [*ENGINE, "asyncdl"]) == []


def test_a_worker_of_the_installed_command_loads_no_engine(tmp_path):
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, function = scripts["asyncdl"].split(":")
    shim = tmp_path / "asyncdl"
    shim.write_text(ENTRY_SHIM.format(module=module, function=function))
    modules = modules_of_a_worker(tmp_path, shim)
    assert of(modules, [module]) == [module]
    assert of(modules, ENGINE) == []


@pytest.mark.parametrize("module", ["workers.entry", "workers.contract"])
def test_the_parent_that_names_a_worker_loads_none_of_its_libraries(module):
    loaded = run_python("-c", f"import {module}, sys, json; print(json.dumps(sorted(sys.modules)))")
    assert of(json.loads(loaded), ["numpy", "pyarrow", "tokenizers", "asyncdl"]) == []
