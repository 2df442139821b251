"""One document of a size beyond any worker's memory goes through one, and costs it no more than another."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.workers.samples import TEXTS, tokenize_task

ROOT = Path(__file__).parents[3]
MOST_BYTES = 600_000_000

MEASURED = """
import pathlib, pickle, sys
from workers import entry

outcome = entry.run(pickle.loads(bytes.fromhex(sys.argv[1])))
status = pathlib.Path("/proc/self/status").read_text()
peak_bytes = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:"))
sys.stdout.buffer.write(pickle.dumps((outcome, peak_bytes)))
"""


def write_document(path, n_bytes):
    """A line of about n_bytes, and what its text measures; every other copy of the prose is written in escapes."""
    prose = "".join(f"{text}\n" for text in TEXTS[:10])
    copies = [json.dumps(prose, ensure_ascii=ensure)[1:-1].encode() for ensure in (False, True)]
    n_pairs = n_bytes // sum(map(len, copies))
    with path.open("wb") as file:
        file.write(b'{"id": [1, {"text": "not this"}], "text": "')
        for _ in range(n_pairs):
            file.writelines(copies)
        file.write(b'", "end": null}\n{"text": "a small one"}\n')
    return 2 * n_pairs * len(prose.encode())


@pytest.mark.parametrize(
    "n_bytes", [120_000_000, pytest.param(1_000_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_a_document_of_one_line_takes_a_worker_no_more_memory_than_it_may_have(tmp_path, tokenizer_folder, n_bytes):
    path = tmp_path / "a.jsonl"
    text_bytes = write_document(path, n_bytes)
    task = tokenize_task(path, tokenizer_folder, tmp_path / "out", max_seq_length=2048, max_shard_tokens=1 << 29)
    command = [sys.executable, "-c", MEASURED, pickle.dumps(task).hex()]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, check=True)
    outcome, peak_bytes = pickle.loads(done.stdout)
    assert (outcome.n_documents, outcome.n_split, outcome.n_bad) == (2, 1, ())
    assert outcome.text_bytes == text_bytes + len("a small one")
    assert peak_bytes < MOST_BYTES
