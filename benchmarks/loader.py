"""Batches out of packed shards: `asyncdl.load_tokens` beside `datasets` streaming, on the same files, in turn.

Every reader is a process of its own. It is weighed (CPU: user and system) from when its libraries are imported to its
last batch, and sums up what it saw, which must be the same for all. Bar: sequences per core-second >= 5 x streaming.

    python benchmarks/loader.py [--path datasets/tokenized/TOKENIZER-LENGTH] [--tokens 60000000] [--runs 3] [--out FILE]

Without --path, shards are made first, by asyncdl's packer and writer, from ids drawn as words in a text are (Zipf).
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
BATCH_SIZE = 8
LENGTH = 2048
N_SHARDS = 4
VOCABULARY = 128_000
TOKENS_AT_ONCE = 500_000
N_SHUFFLED = 512  # sequences in the buffer of `datasets`: what one row group of ours holds at this length

Batches = Iterator[dict[str, np.ndarray]]


def ours(path: Path, **options: object) -> Batches:
    from asyncdl import load_tokens

    return iter(load_tokens(path, batch_size=BATCH_SIZE, drop_last=False, **options))


def streaming(path: Path):
    from datasets import load_dataset

    files = [str(file) for file in sorted(path.glob("*/shard_*.parquet"))]
    return load_dataset("parquet", data_files=files, split="train", streaming=True)


def rows_of(path: Path) -> Batches:
    """As a DataLoader takes a streaming dataset: row by row, and its collate function stacks them."""
    rows = []
    for row in streaming(path).with_format("numpy"):
        rows.append(row)
        if len(rows) == BATCH_SIZE:
            yield {name: np.stack([row[name] for row in rows]) for name in rows[0]}
            rows.clear()
    if rows:
        yield {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def bare(path: Path) -> Batches:
    """No loader at all: pyarrow decodes the three columns of one row group after another."""
    import pyarrow.parquet as pq

    for file in sorted(path.glob("*/shard_*.parquet")):
        with pq.ParquetFile(file) as shard:
            for group in range(shard.num_row_groups):
                table = shard.read_row_group(group, use_threads=False)
                yield {
                    name: table.column(name).combine_chunks().values.to_numpy().reshape(len(table), -1)
                    for name in table.column_names
                }


READERS: dict[str, Callable[[Path], Batches]] = {
    "asyncdl.load_tokens": ours,
    "datasets streaming, numpy, iter(batch_size)": lambda path: (
        streaming(path).with_format("numpy").iter(batch_size=BATCH_SIZE)
    ),
    "datasets streaming, numpy, row by row": rows_of,
    "asyncdl.load_tokens, shuffled": lambda path: ours(path, seed=0),
    "datasets streaming, numpy, shuffled, iter(batch_size)": lambda path: (
        streaming(path).shuffle(seed=0, buffer_size=N_SHUFFLED).with_format("numpy").iter(batch_size=BATCH_SIZE)
    ),
    "pyarrow, whole row groups": bare,
}
BASE, PEER = "asyncdl.load_tokens", "datasets streaming, numpy, iter(batch_size)"


def read(name: str, path: Path) -> None:
    """In the child: take every batch, and print what was used and seen."""
    importlib.import_module("datasets" if "datasets" in name else "asyncdl.loader")
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    n_sequences = total = 0
    for batch in READERS[name](path):
        real = batch["attention_mask"][:, 0].astype(np.int64)  # 0: a sequence of padding alone
        n_sequences += int(real.sum())
        total += int(real @ batch["input_ids"][:, -1]) + int(real @ batch["labels"][:, 0])
    used, wall_s = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - began
    cpu_s = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    seen = {"n_sequences": n_sequences, "total": total}
    print(json.dumps(seen | {"wall_s": wall_s, "cpu_s": cpu_s, "peak_bytes": peak_bytes()}))


def peak_bytes() -> int:
    """Of this program alone: ru_maxrss begins with what the process was before it became this one."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this kernel does not say what a process used at most")


def measured(name: str, path: Path) -> dict[str, float]:
    env = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), "--path", str(path), "--read", name]
    return json.loads(subprocess.run(command, check=True, capture_output=True, env=env).stdout)


def make(folder: Path, n_tokens: int) -> Path:
    """Shards of `n_tokens` tokens, packed and written as a tokenize job does, and what is read of a manifest."""
    from workers.contract import TokenizeTask
    from workers.packing import Concat, Rules
    from workers.shards import writing

    chance, files = np.random.default_rng(0), []
    for n in range(N_SHARDS):
        task = TokenizeTask(
            sources=(), text_column="", tokenizer_path="", tokenizer_sha256="", eos_id=0,
            max_seq_length=LENGTH, labels="shifted", max_shard_tokens=500_000_000, output_dir=str(folder / "zipf"),
            shard_stem=f"shard_{n}", job_id=n, attempt=1,
        )  # fmt: skip
        packer = Concat(Rules(max_seq_length=LENGTH, eos_id=0, pad_id=0))
        with writing(task) as writer:
            for _ in range(n_tokens // N_SHARDS // TOKENS_AT_ONCE):
                ids = (chance.zipf(1.2, TOKENS_AT_ONCE) % VOCABULARY).astype(np.int32)
                writer.add(packer.add(ids, np.arange(0, TOKENS_AT_ONCE + 1, 500)))
            files += [
                {"name": shard.name, "sequences": shard.n_sequences, "size": shard.size_bytes, "sha256": shard.sha256}
                for shard in writer.finish(packer.finish())
            ]
    splits = {"zipf": {"path": "zipf", "shard_files": files}}
    manifest = {"schema_version": 1, "max_seq_length": LENGTH, "eos_id": 0, "splits": splits}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def rows(path: Path, runs: int) -> Iterator[str]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in READERS}
    for _ in range(runs):  # in turn, so that a busy minute meets all
        for name, of_name in found.items():
            of_name.append(measured(name, path))
    seen = {(run["n_sequences"], run["total"]) for of_name in found.values() for run in of_name}
    if len(seen) != 1:
        raise SystemExit(f"the readers saw different things: {seen}")
    [(n_sequences, _)] = seen
    per_core_s = {name: n_sequences / min(run["cpu_s"] for run in of_name) for name, of_name in found.items()}
    for name, of_name in found.items():
        walls, peaks = [run["wall_s"] for run in of_name], [run["peak_bytes"] for run in of_name]
        yield (
            f"| {name} | {per_core_s[name]:,.0f} | {per_core_s[name] / per_core_s[PEER]:.1f} x"
            f" | {n_sequences / statistics.median(walls):,.0f} | {statistics.median(peaks) / 1e6:.0f} |"
        )


def report(path: Path, runs: int) -> str:
    import datasets
    import pyarrow as pa

    length = json.loads((path / "manifest.json").read_bytes())["max_seq_length"]
    return "\n".join(
        [
            "# The loader",
            "",
            (
                f"Sequences of {length} tokens, batches of {BATCH_SIZE}, three columns; imports are not counted."
                f" CPU: the best of {runs} runs each, in turn; wall and memory: the median. {os.cpu_count()} shared"
                f" cores (noisy), Python {platform.python_version()}, numpy {np.__version__}, pyarrow {pa.__version__},"
                f" datasets {datasets.__version__}."
            ),
            "",
            "| reader | sequences per core-second | against streaming | sequences/s, wall | peak MB |",
            "|---|---|---|---|---|",
            *rows(path, runs),
            "",
            f"Bar: {BASE} at 5 x {PEER}.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path)
    parser.add_argument("--tokens", type=int, default=60_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--read", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read(options.read, options.path)
        return
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        text = report(options.path or make(Path(folder), options.tokens), options.runs)
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
