"""The door of a worker process: `prepare` once per child, then `run` once per task.

Each task's module is imported on first use, so that a child that only verifies never loads the tokenizer
and the parent, which imports this module to name `run`, loads neither numpy nor pyarrow. Knows no more of
the work than which module does it.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import cast

from workers.contract import (
    CheckShardTask,
    DescribeFileTask,
    InspectTokenizerTask,
    Outcome,
    Rejected,
    SurveyTask,
    Task,
    TokenizeTask,
    VerifyTask,
)
from workers.refused import Refused

THREAD_ENV: dict[str, str] = {
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",  # Arrow's CPU pool reads it too
    "OPENBLAS_NUM_THREADS": "1",  # numpy's OpenBLAS reserves address space per thread at import
    "ARROW_IO_THREADS": "1",
}
"""For the parent to put into os.environ before it spawns: the libraries read these while they load.
One process per core scales better than threads inside the tokenizer (huggingface/tokenizers#1900)."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_NICE_STEP = 5  # guess: enough for the engine's event loop to win every contest for a core

_MODULES: dict[type[Task], str] = {
    VerifyTask: "workers.verify",
    SurveyTask: "workers.survey",
    InspectTokenizerTask: "workers.tokens",
    TokenizeTask: "workers.tokenize_file",
    CheckShardTask: "workers.check_shards",
    DescribeFileTask: "workers.upload",
}


def run(task: Task) -> Outcome:
    """Do one task. An expected failure comes back as `Rejected`; whatever is raised is a bug of ours."""
    module = importlib.import_module(_MODULES[type(task)])
    try:
        return cast("Outcome", module.run(task))
    except Refused as refused:
        return Rejected(error_class=refused.error_class, message=refused.message)
    except BaseException as error:
        # A Rust panic arrives as pyo3's PanicException, which is no Exception and, living in a module that
        # cannot be imported, cannot be pickled: left alone it reaches the engine as a pickling error that
        # names no cause. What comes here is the panic of `tokenizers` (workers.tokens leaves a text that
        # `fastokens` panics on to it), and what it panics on is decided by tokenizer.json and the text alone (a
        # regex over its backtracking limit, say), so another try would
        # panic again. Hence the tokenizer is refused, with the panic's words.
        if type(error).__name__ != "PanicException":
            raise
        return Rejected(error_class="bad_tokenizer", message=f"the tokenizer panicked: {error}")


def prepare(address_space_bytes: int) -> None:
    """Set up a fresh child; the pool's initializer.

    address_space_bytes: what RLIMIT_AS becomes (virtual memory; pyarrow and a large vocabulary together
    reserve a few GB), so that a decompression bomb ends its own task and not the machine.
    SIGINT is ignored because a terminal sends it to the whole group and the parent is the one that drains.
    """
    import resource

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setpgid(0, 0)  # `timeout` and batch schedulers signal the whole group: SIGTERM would look like a crash
    _die_with_parent()
    os.nice(_NICE_STEP)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        address_space_bytes = min(address_space_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes, hard))


def _die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, even inside native code.

    The "parent" of PR_SET_PDEATHSIG is the thread that spawned the child (man 2 prctl): a pool must be
    started from a thread that lives as long as the pool.
    """
    if sys.platform != "linux":
        return
    import ctypes
    import multiprocessing

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:
        os._exit(1)  # it died before the line above; no signal will come
