"""Every error class that any code can utter has a treatment, and every treatment has somebody who utters it."""

import ast

import pytest

from asyncdl.core import reply
from asyncdl.core.retry import TREATMENTS, Treatment
from tests.support.sources_of import modules
from workers.contract import BAD_LINES, REJECTIONS

WORD = "error_class"


def takers(trees):
    """{function or class name: position of its parameter `error_class`, self not counted}."""
    found = {}
    for tree in [*trees, *trees]:  # twice: a class may be read before the one it inherits from
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                        found |= position(node.name, method, skip=1)
                bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
                found |= {node.name: found[base] for base in bases if base in found}
            elif isinstance(node, ast.FunctionDef):
                found |= position(node.name, node, skip=0)
    found.pop("__init__", None)
    return found


def position(name, function, *, skip):
    names = [argument.arg for argument in function.args.args]
    return {name: names.index(WORD) - skip} if WORD in names else {}


def strings(node):
    """The constants an expression may come to: both sides of an `if`, not what it asks."""
    if isinstance(node, ast.IfExp):
        return strings(node.body) | strings(node.orelse)
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


NO_JOBS = ("asyncdl.demo", "asyncdl.engine.checking")
"""What is said there becomes no error of a job."""


def find_uttered():
    """{error class: a place where it is uttered}, read off the source of the whole project."""
    sources = [module for module in modules("asyncdl", "workers") if not module.name.startswith(NO_JOBS)]
    positions = takers([module.tree for module in sources])
    found = {}
    for module in sources:
        for node in ast.walk(module.tree):
            values = []
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                at = positions.get(name)
                values = node.args[at : at + 1] if at is not None else []
                values += [keyword.value for keyword in node.keywords if keyword.arg == WORD]
            elif isinstance(node, ast.Dict):
                values = [
                    value
                    for key, value in zip(node.keys, node.values, strict=True)
                    if getattr(key, "value", "") == WORD
                ]
            for value in values:
                found |= dict.fromkeys(strings(value), f"{module.where}:{node.lineno}")
    found |= {error_class: "core/reply's table" for error_class, _ in [*reply._REFUSALS.values(), reply._ODD]}
    return {error_class: place for error_class, place in found.items() if error_class not in BAD_LINES}


@pytest.fixture(scope="module", name="uttered")
def _uttered():
    return find_uttered()


def test_the_search_finds_what_it_is_meant_to_find(uttered):
    assert uttered.keys() >= {"dns", "short_body", "rate_limited", "worker_crashed", "bad_pages", "engine_died", "bug"}
    assert len(uttered) > 40


def test_what_is_uttered_has_a_treatment(uttered):
    assert {error_class: place for error_class, place in uttered.items() if error_class not in TREATMENTS} == {}


def test_what_has_a_treatment_is_uttered(uttered):
    assert TREATMENTS.keys() - uttered.keys() == set()


def test_what_a_worker_rejects_is_final_but_for_a_full_disk_and_a_portal_that_may_go_away():
    found = {error_class: TREATMENTS[error_class].treatment for error_class in REJECTIONS}
    assert found.pop("no_room") is Treatment.PARK
    assert found.pop("html_instead") is Treatment.AGAIN  # the transfer utters it too
    assert set(found.values()) == {Treatment.NEVER}
