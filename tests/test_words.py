"""The measures of the house: small modules, short functions, few parameters, no broad catch but where one must be."""

import ast
import re

from tests.support.sources_of import ROOT, module_of, modules

MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 80
MAX_PARAMETERS = 8
PACKAGE = modules("asyncdl", "workers")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

BROAD = {
    "asyncdl/cli/main.py": "supervisor: a bug is told as one, with where to find more",
    "asyncdl/engine/attempts.py": "supervisor: one file must not end a run of days; the bug is logged and charged",
    "workers/entry.py": "supervisor: a native panic is no Exception and cannot be pickled",
    "workers/tokens.py": "the tokenizer's library raises bare Exception; it becomes a refusal",
    "asyncdl/store/writer.py": "hands every error to the callers that wait for it",
    "asyncdl/engine/uploading.py": "hands whatever a thread raised to who waits for it",
    "asyncdl/engine/pool.py": "whatever a child raised becomes an error class",
}
"""Where an `except` may catch everything and not raise it again, and why."""

MANY_PARAMETERS = {
    "asyncdl/demo/hub.py DemoHub.__init__": "each is one property of the Hub that a test may want otherwise",
    "asyncdl/demo/repos.py Repo.__init__": "a repository has that many independent properties",
}


def functions(module):
    """(name, node) of every function, methods with their class."""
    waiting = [("", node) for node in module.tree.body]
    while waiting:
        prefix, node = waiting.pop()
        if isinstance(node, (ast.ClassDef, *FUNCTIONS)):
            if isinstance(node, FUNCTIONS):
                yield f"{prefix}{node.name}", node
            waiting += [(f"{prefix}{node.name}.", child) for child in node.body]
        elif hasattr(node, "body"):
            waiting += [(prefix, child) for child in [*node.body, *getattr(node, "orelse", [])]]


def n_parameters(node):
    """All that a caller can give, self and cls not counted."""
    named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return len([one for one in named if one.arg not in ("self", "cls")])


def is_command(node):
    """Whether a decorator makes it a verb of the command line: each parameter is an option of it."""
    return any("click" in ast.unparse(decorator) for decorator in node.decorator_list)


def too_long(module):
    n_lines = len(module.text.splitlines())
    if n_lines > MAX_MODULE_LINES:
        yield f"{module.where} has {n_lines} lines"
    for name, node in functions(module):
        n_lines = (node.end_lineno or 0) - node.lineno + 1
        if n_lines > MAX_FUNCTION_LINES:
            yield f"{module.where}:{node.lineno} {name} has {n_lines} lines"
        if (
            n_parameters(node) > MAX_PARAMETERS
            and f"{module.where} {name}" not in MANY_PARAMETERS
            and not is_command(node)
        ):
            yield f"{module.where}:{node.lineno} {name} has {n_parameters(node)} parameters"


def broad_catches(module):
    """Handlers that catch everything and do not end by raising the same again."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = (
            {"BaseException"}
            if node.type is None
            else {ast.unparse(one) for one in getattr(node.type, "elts", [node.type])}
        )
        last = node.body[-1]
        passes_on = isinstance(last, ast.Raise) and last.exc is None
        if caught & {"Exception", "BaseException"} and not passes_on:
            yield f"{module.where}:{node.lineno}"


def test_modules_and_functions_are_small():
    assert [sentence for module in PACKAGE for sentence in too_long(module)] == []


def test_nothing_is_caught_broadly_but_where_there_is_a_reason():
    found = [place for module in PACKAGE for place in broad_catches(module)]
    assert {place.partition(":")[0] for place in found} == set(BROAD), found


def test_every_exception_to_a_measure_is_still_needed():
    long_lists = {f"{module.where} {name}" for module in PACKAGE for name, node in functions(module) if n_parameters(node) > MAX_PARAMETERS}  # fmt: skip
    assert set(MANY_PARAMETERS) <= long_lists


def test_every_module_says_what_it_is():
    assert [module.where for module in PACKAGE if not ast.get_docstring(module.tree)] == []


def test_nothing_is_mocked():
    """A stand-in is a class of its own that keeps the rules of what it stands for."""
    mocking = re.compile(r"unittest\.mock|from unittest import mock|MagicMock|\bmocker\b|import mock\b")
    texts = [
        module for module in modules("asyncdl", "workers", "tests", "benchmarks") if module.path.name != "test_words.py"
    ]
    assert [module.where for module in texts if mocking.search(module.text)] == []


MACHINE = re.compile(r"(?<![\w.])/(?:tmp|home|root|work|Users|mnt|var/folders)/\w")


def test_no_path_of_a_machine_is_in_the_package():
    assert [module.where for module in PACKAGE if MACHINE.search(module.text)] == []


def test_the_measures_find_what_they_measure():
    body = "\n".join(f"    x = {n}" for n in range(90))
    planted = (
        f"def long():\n{body}\n"
        "class A:\n    def many(self, a, b, c, d, e, f, g, *, h, i): pass\n"
        "try:\n    x()\nexcept Exception:\n    pass\n"
        "try:\n    x()\nexcept (ValueError, BaseException) as error:\n    raise KeyError from error\n"
        "try:\n    x()\nexcept:\n    pass\n"
        "try:\n    x()\nexcept BaseException:\n    raise\n"
    )
    module = module_of(planted + "\n" * 500, ROOT / "asyncdl" / "x.py")
    assert [line.split(" ", 1)[1] for line in too_long(module)] == [
        "has 609 lines",
        "A.many has 9 parameters",
        "long has 91 lines",
    ]
    assert len(list(broad_catches(module))) == 3
    assert MACHINE.search("open('/tmp/x')")
    assert not MACHINE.search("https://hub.test/tmp/x")
