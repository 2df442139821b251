"""Parquet text -> packed shards: CPU seconds per stage, ours beside a plain loop, `datasets` and datatrove.

    python benchmarks/text_corpus.py FOLDER
    python benchmarks/tokenizing.py FOLDER [--vocabulary ...] [--peers ...] [--peer-mb 40] [--runs 3] [--out FILE]
    python benchmarks/tokenizing.py FOLDER --equal      the ids of the whole corpus against those of `tokenizers`

Every row is a process of its own with one thread; its figures are CPU (user and system, children too), the best of
its runs. Imports and loading the vocabulary are a stage of their own and not in the rate, which is text in MB (10^6
bytes of UTF-8) per core-second. The peers take a part of the same corpus, for they take long, and live in an
environment of their own below FOLDER. Not called tokenize.py: scripts beside it would then import it for the standard
library's module of that name.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "tokenizing.md"
STAGES = ("load", "read", "encode", "pack", "write")
ONE_THREAD = {
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "ARROW_IO_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": str(ROOT),
}
ROWS = 1000  # documents at a time for the plain loop, as `datasets` takes by default


@dataclass
class Stages:
    """CPU seconds of each stage so far."""

    cpu_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        start = cpu_now()
        yield
        self.cpu_s[name] = self.cpu_s.get(name, 0.0) + cpu_now() - start


def cpu_now() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@dataclass(frozen=True)
class Job:
    corpus: Path
    vocabulary: Path
    length: int
    output: Path


def ours(job: Job, stages: Stages, backend: str = "auto") -> dict[str, object]:
    """What `workers.tokenize_file` does, with a clock between its stages."""
    with stages.of("load"):
        from workers import entry, shards, text, tokens
        from workers.contract import InspectTokenizerTask, TokenizeTask
        from workers.packing import Concat, Rules

        info = entry.run(InspectTokenizerTask(path=str(job.vocabulary)))
        encoder = tokens.load(info.path, info.sha256, backend)
    task = TokenizeTask(
        source_path=str(job.corpus), source_id="corpus", text_column="text", tokenizer_path=info.path,
        tokenizer_sha256=info.sha256, eos_id=info.eos_id, max_seq_length=job.length, labels="shifted",
        max_shard_tokens=500_000_000, output_dir=str(job.output), shard_stem="shard_corpus", job_id=1, attempt=1,
    )  # fmt: skip
    packer = Concat(Rules(max_seq_length=job.length, eos_id=info.eos_id, pad_id=info.eos_id))
    batches = text.batches(task.source_path, task.text_column, encoder.max_text_bytes)
    with shards.writing(task) as writer:
        while True:
            with stages.of("read"):
                batch = next(batches, None)
            if batch is None:
                break
            with stages.of("encode"):
                ids = encoder.encode(batch.texts)
            with stages.of("pack"):
                sequences = packer.add(*ids, ends=batch.ends)
            with stages.of("write"):
                writer.add(sequences)
        with stages.of("write"):
            published = writer.finish(packer.finish())
    size = sum(shard.size_bytes for shard in published)
    return {"tokens": packer.n_tokens, "backend": encoder.backend, "note": encoder.note, "shard_bytes": size}


def reference(job: Job, stages: Stages) -> dict[str, object]:
    return ours(job, stages, "tokenizers")


def loop(job: Job, stages: Stages) -> dict[str, object]:
    """What one writes first: `encode_batch`, lists of ints, one table a thousand documents."""
    with stages.of("load"):
        import pyarrow as pa
        import pyarrow.parquet as pq
        import tokenizers

        tokenizer = tokenizers.Tokenizer.from_file(str(job.vocabulary / "tokenizer.json"))
        eos_id = end_of_text(tokenizer)
    stream: list[int] = []
    n_tokens = 0
    names = ("input_ids", "attention_mask", "labels")
    schema = pa.schema([(name, pa.list_(pa.int32())) for name in names])
    batches = pq.ParquetFile(job.corpus).iter_batches(ROWS, columns=["text"], use_threads=False)
    with pq.ParquetWriter(job.output / "shard.parquet", schema, compression="zstd") as writer:
        while True:
            with stages.of("read"):
                batch = next(batches, None)
                texts = batch.column(0).to_pylist() if batch else []
            if not texts:
                break
            with stages.of("encode"):
                encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
            with stages.of("pack"):
                for encoding in encodings:
                    stream += [*encoding.ids, eos_id]
                whole = len(stream) // job.length * job.length
                rows = [stream[i : i + job.length] for i in range(0, whole, job.length)]
                stream = stream[whole:]
                columns = [rows, [[1] * job.length] * len(rows), [[*row[1:], -100] for row in rows]]
                n_tokens += whole
            with stages.of("write"):
                writer.write_table(pa.table(dict(zip(names, columns, strict=True)), schema=schema))
    return {"tokens": n_tokens + len(stream), "backend": f"tokenizers {tokenizers.__version__}"}


def datasets_map(job: Job, stages: Stages) -> dict[str, object]:
    """The recipe of the `transformers` examples: map(tokenize), map(group_texts), to_parquet."""
    with stages.of("load"):
        import datasets
        import tokenizers

        tokenizer = tokenizers.Tokenizer.from_file(str(job.vocabulary / "tokenizer.json"))
        eos_id = end_of_text(tokenizer)
        datasets.disable_progress_bars()

    def tokenize(rows: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        encodings = tokenizer.encode_batch(rows["text"], add_special_tokens=False)
        return {"input_ids": [[*encoding.ids, eos_id] for encoding in encodings]}

    def group(rows: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        stream = [i for ids in rows["input_ids"] for i in ids]
        ends = range(job.length, len(stream) + 1, job.length)
        packed = [stream[end - job.length : end] for end in ends]
        return {"input_ids": packed, "attention_mask": [[1] * job.length] * len(packed), "labels": packed}

    with stages.of("read"):
        cache = str(job.output / "cache")
        read = datasets.load_dataset("parquet", data_files=str(job.corpus), split="train", cache_dir=cache)
    with stages.of("encode"):
        tokenized = read.map(tokenize, batched=True, remove_columns=read.column_names)
        n_tokens = sum(len(row) for batch in tokenized.iter(ROWS) for row in batch["input_ids"])
    with stages.of("pack"):
        packed = tokenized.map(group, batched=True)
    with stages.of("write"):
        packed.to_parquet(str(job.output / "shard.parquet"))
    return {"tokens": n_tokens, "backend": f"datasets {datasets.__version__}"}


def datatrove(job: Job, stages: Stages) -> dict[str, object]:
    """DocumentTokenizer: ids and an index of documents on disk; no sequences, no labels, no Parquet."""
    with stages.of("load"):
        from datatrove.utils.logging import logger

        logger.remove()
        from datatrove.executor import LocalPipelineExecutor
        from datatrove.pipeline.readers import ParquetReader
        from datatrove.pipeline.tokens import DocumentTokenizer
        from tokenizers import Tokenizer

        path = str(job.vocabulary / "tokenizer.json")
        tokenizer = Tokenizer.from_file(path)
        eos_token = tokenizer.id_to_token(end_of_text(tokenizer))
    folder = job.output / "in"
    folder.mkdir()
    (folder / "corpus.parquet").symlink_to(job.corpus)
    reader = ParquetReader(str(folder), glob_pattern="*.parquet", read_metadata=False)
    with stages.of("read"):
        for _ in reader(rank=0, world_size=1):
            pass
    writer = DocumentTokenizer(str(job.output / "out"), path, eos_token=eos_token, shuffle_documents=False)
    executor = LocalPipelineExecutor(
        [reader, writer], tasks=1, workers=1, logging_dir=str(job.output / "logs"), skip_completed=False
    )
    with stages.of("all"):
        executor.run()
    stages.cpu_s["encode"] = stages.cpu_s.pop("all") - stages.cpu_s["read"]  # it encodes and writes in one go
    n_bytes = sum(path.stat().st_size for path in (job.output / "out").glob("*.ds"))
    width = 4 if tokenizer.get_vocab_size() > 1 << 16 else 2
    return {"tokens": n_bytes // width, "backend": f"datatrove {version('datatrove')}"}


def end_of_text(tokenizer: object) -> int:
    ids = (tokenizer.token_to_id(token) for token in ("<|endoftext|>", "<|end_of_text|>", "<|eot_id|>"))
    return next(i for i in ids if i is not None)


PATHS: dict[str, tuple[str, Callable[[Job, Stages], dict[str, object]]]] = {
    "ours": ("asyncdl", ours),
    "reference": ("asyncdl, without fastokens", reference),
    "loop": ("a plain loop over `tokenizers`", loop),
    "datasets": ("`datasets.map` + group_texts", datasets_map),
    "datatrove": ("datatrove DocumentTokenizer", datatrove),
}
PEERS = ("reference", "loop", "datasets", "datatrove")
IN_THE_PEERS_ENVIRONMENT = ("datasets", "datatrove")


def run_one(name: str, corpus: Path, vocabulary: Path, length: int) -> None:
    """In a process of its own: print what it took as JSON, on the last line."""
    stages = Stages()
    with tempfile.TemporaryDirectory(dir=corpus.parent) as output:
        found = PATHS[name][1](Job(corpus.absolute(), vocabulary.absolute(), length, Path(output)), stages)
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    print(json.dumps({"name": name, "cpu_s": stages.cpu_s, "peak_bytes": peak_bytes} | found))


def measure(name: str, corpus: Path, vocabulary: Path, arguments: argparse.Namespace) -> dict:
    python = peers_python(arguments.folder) if name in IN_THE_PEERS_ENVIRONMENT else sys.executable
    argv = [python, __file__, corpus, "--one", name, "--vocabulary", vocabulary, "--length", str(arguments.length)]
    best: dict | None = None
    for _ in range(arguments.runs if name == "ours" else 1):
        print(f"{name}, {vocabulary.name}, {corpus.name}", file=sys.stderr)
        done = subprocess.run(argv, env=os.environ | ONE_THREAD, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        if best is None or work_s(found) < work_s(best):
            best = found
    return best


def work_s(found: dict) -> float:
    return sum(found["cpu_s"].values()) - found["cpu_s"]["load"]


def peers_python(folder: Path) -> Path:
    """Of an environment with the peers and our versions of what they share; made where it is missing."""
    python = folder.absolute() / "peers" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / "peers"], check=True)
        shared = [f"{package}=={version(package)}" for package in ("tokenizers", "pyarrow", "numpy")]
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "datasets", "datatrove[io]", *shared], check=True)
    return python


def first_mb(corpus: Path, mb: float | None) -> tuple[Path, int]:
    """The first mb of the corpus as a file beside it, and how many bytes of text that is."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(corpus, columns=["text"])
    sizes = pc.binary_length(table["text"])
    if mb is None:
        return corpus, pc.sum(sizes).as_py()
    n = pc.sum(pc.less(pc.cumulative_sum(pc.cast(sizes, "int64")), mb * 1e6)).as_py()
    part = corpus.with_name(f"corpus-{mb:g}.parquet")
    pq.write_table(table[:n], part, compression="zstd", row_group_size=ROWS)
    return part, pc.sum(sizes[:n]).as_py()


def table_of(arguments: argparse.Namespace) -> Iterator[str]:
    corpus = arguments.folder / "corpus.parquet"
    whole, part = first_mb(corpus, arguments.mb), first_mb(corpus, arguments.peer_mb)
    yield "# Parquet text -> packed shards, CPU seconds per 100 MB of text"
    yield ""
    yield f"{whole[1] / 1e6:.0f} MB of text (peers: the first {part[1] / 1e6:.0f} MB), sequences of {arguments.length},"
    yield f"one thread, best of {arguments.runs}. Made by `python benchmarks/tokenizing.py`."
    for vocabulary in arguments.vocabulary:
        yield ""
        yield f"## {vocabulary}"
        yield ""
        yield f"| path | backend | {' | '.join(STAGES[1:])} | loading, s | peak, MB | Mtok/s | MB/s |"
        yield "|---|---|" + "---:|" * 8
        for name in ("ours", *arguments.peers):
            source, n_bytes = whole if name == "ours" else part
            found = measure(name, source, arguments.folder / vocabulary, arguments)
            yield row(found, n_bytes)
    yield ""
    yield f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}."


def row(found: dict, n_bytes: int) -> str:
    cpu_s, total_s = found["cpu_s"], work_s(found)
    stages = [f"{cpu_s[one] * 1e8 / n_bytes:.2f}" if one in cpu_s else "" for one in STAGES[1:]]
    figures = [
        *stages,
        f"{cpu_s['load']:.1f}",
        f"{found['peak_bytes'] / 1e6:.0f}",
        f"{found['tokens'] / total_s / 1e6:.2f}",
    ]
    cells = [PATHS[found["name"]][0], found["backend"], *figures, f"**{n_bytes / total_s / 1e6:.1f}**"]
    return f"| {' | '.join(cells)} |"


def equal(arguments: argparse.Namespace) -> None:
    """Raise SystemExit at the first document whose ids differ from those of `tokenizers`."""
    os.environ.update(ONE_THREAD)
    sys.path.insert(0, str(ROOT))
    import numpy as np

    from workers import entry, text, tokens
    from workers.contract import InspectTokenizerTask

    corpus, _ = first_mb(arguments.folder / "corpus.parquet", arguments.mb)
    for vocabulary in arguments.vocabulary:
        info = entry.run(InspectTokenizerTask(path=str(arguments.folder / vocabulary)))
        fast, slow = (tokens.load(info.path, info.sha256, backend) for backend in ("auto", "tokenizers"))
        n_documents = n_tokens = 0
        for batch in text.batches(str(corpus), "text", slow.max_text_bytes):
            (flat, offsets), (expected, places) = fast.encode(batch.texts), slow.encode(batch.texts)
            if not (np.array_equal(flat, expected) and np.array_equal(offsets, places)):
                raise SystemExit(
                    f"{vocabulary}: ids differ within documents {n_documents} to {n_documents + len(places) - 1}"
                )
            n_documents += len(places) - 1
            n_tokens += len(flat)
        print(f"{vocabulary}: {n_tokens} ids of {n_documents} documents, {fast.backend} == {slow.backend}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vocabulary", nargs="+", default=["llama3", "qwen3", "gpt2"])
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--mb", type=float, help="of the corpus; all of it")
    parser.add_argument("--peer-mb", type=float, default=40)
    parser.add_argument("--length", type=int, default=8192)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--equal", action="store_true")
    parser.add_argument("--one", choices=PATHS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        run_one(arguments.one, arguments.folder, Path(arguments.vocabulary[0]), arguments.length)
    elif arguments.equal:
        equal(arguments)
    else:
        text = "\n".join(table_of(arguments)) + "\n"
        arguments.out.write_text(text)
        print(text)


if __name__ == "__main__":
    main()
