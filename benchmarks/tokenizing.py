"""Parquet text -> packed shards: CPU seconds per stage, ours beside a plain loop, `datasets` and datatrove.

    python benchmarks/text_corpus.py FOLDER
    python benchmarks/tokenizing.py FOLDER [--vocabulary ...] [--peers ...] [--peer-mb 40] [--runs 3] [--equal]

Every row is a process of its own with one thread; its figures are CPU (user and system, children too), the best of
its runs. Imports and loading the vocabulary are a stage of their own and not in the rate, which is text in MB (10^6
bytes of UTF-8) per core-second. The peers take a part of the same corpus, for they take long, and are compared with
asyncdl on that part; they live in an environment of their own below FOLDER. --equal also compares the ids of the whole
corpus with those of `tokenizers`, some minutes for each vocabulary. Not called tokenize.py: scripts beside it would
then import it for the standard library's module of that name.
"""

from __future__ import annotations

import argparse
import hashlib
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
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from loader import peak_bytes

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "tokenizing.md"
STAGES = ("read", "encode", "pack", "write", "hash")
BAR_MB_PER_S, BAR_RATIO, BAR_PEER = 40, 15, "datatrove"
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

    def apart(self, name: str, function: Callable[[Any], Any], of: str) -> Callable[[Any], Any]:
        """`function`, called within the stage `of`, with its time in `name` instead."""

        def timed(argument: Any) -> Any:
            start = cpu_now()
            result = function(argument)
            spent = cpu_now() - start
            self.cpu_s[name] = self.cpu_s.get(name, 0.0) + spent
            self.cpu_s[of] = self.cpu_s.get(of, 0.0) - spent
            return result

        return timed


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
        from workers import entry, shard_file, shards, text, tokens
        from workers.batch import Counts
        from workers.contract import InspectTokenizerTask, Source, TokenizeTask
        from workers.packing import Concat, Rules

        info = entry.run(InspectTokenizerTask(path=str(job.vocabulary)))
        encoder = tokens.load(info.path, info.sha256, backend)
    task = TokenizeTask(
        sources=(Source(path=str(job.corpus), source_id="corpus"),), text_column="text", tokenizer_path=info.path,
        tokenizer_sha256=info.sha256, eos_id=info.eos_id, max_seq_length=job.length, labels="shifted",
        max_shard_tokens=500_000_000, output_dir=str(job.output), shard_stem="shard_corpus", job_id=1, attempt=1,
    )  # fmt: skip
    shard_file.hashlib = SimpleNamespace(sha256=lambda: timed_sha256(stages))
    packer = Concat(Rules(max_seq_length=job.length, eos_id=info.eos_id, pad_id=info.eos_id))
    batches = text.batches(task, task.sources[0], encoder.max_text_bytes, Counts())
    with shards.writing(task) as writer:
        while True:
            with stages.of("read"):
                batch = next(batches, None)
            if batch is None:
                break
            with stages.of("encode"):
                flat, offsets = encoder.encode(batch.texts)
                batch.texts.clear()
                tokens.count_special(flat, encoder.special)
            with stages.of("pack"):
                sequences = packer.add(flat, offsets, ends=batch.ends)
            with stages.of("write"):
                writer.add(sequences)
        with stages.of("write"):
            published = writer.finish(packer.finish())
    size = sum(shard.size_bytes for shard in published)
    return {"tokens": packer.n_tokens, "backend": encoder.backend, "note": encoder.note, "shard_bytes": size}


def timed_sha256(stages: Stages) -> SimpleNamespace:
    digest = hashlib.sha256()
    return SimpleNamespace(update=stages.apart("hash", digest.update, "write"), hexdigest=digest.hexdigest)


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
    "ours": ("**asyncdl**", ours),
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
    print(json.dumps({"name": name, "cpu_s": stages.cpu_s, "peak_bytes": peak_bytes()} | found))


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

    table = pq.read_table(corpus, columns=["text", "group"])
    sizes = pc.binary_length(table["text"])
    if mb is None:
        return corpus, pc.sum(sizes).as_py()
    n = pc.sum(pc.less(pc.cumulative_sum(pc.cast(sizes, "int64")), mb * 1e6)).as_py()
    part = corpus.with_name(f"corpus-{mb:g}.parquet")
    pq.write_table(table[:n], part, compression="zstd", row_group_size=ROWS)
    return part, pc.sum(sizes[:n]).as_py()


def report(arguments: argparse.Namespace) -> Iterator[str]:
    corpus = arguments.folder / "corpus.parquet"
    whole, part = first_mb(corpus, arguments.mb), first_mb(corpus, arguments.peer_mb)
    found = {name: of_vocabulary(name, whole, part, arguments) for name in arguments.vocabulary}
    yield "# Parquet text -> packed shards, CPU seconds per 100 MB of text"
    yield ""
    yield (
        f"`python benchmarks/tokenizing.py`, {datetime.now(tz=UTC):%Y-%m-%d}: {whole[1] / 1e6:.0f} MB of text"
        f" ({mix(whole[0])}), the peers the first {part[1] / 1e6:.0f} MB of it; sequences of {arguments.length},"
        f" shifted labels, zstd, one thread, best of {arguments.runs} runs of asyncdl and one of each peer."
        f" {os.cpu_count()} cores that others use too, {platform.system()} {platform.release()},"
        f" Python {platform.python_version()}, pyarrow {version('pyarrow')}, numpy {version('numpy')}."
    )
    yield ""
    yield from bars(found, whole[1], part[1])
    for vocabulary, measured in found.items():
        yield ""
        yield f"## {vocabulary}"
        yield ""
        yield f"| path | backend | {' | '.join(STAGES)} | loading, s | peak, MB | Mtok/s | MB/s | asyncdl is |"
        yield "|---|---|" + "---:|" * (len(STAGES) + 5)
        ours_s = work_s(measured["part"])
        for name, one in measured.items():
            n_bytes = whole[1] if name == "ours" else part[1]
            yield row(one, n_bytes, work_s(one) / ours_s if name in PEERS else None)
    yield ""
    yield (
        "`asyncdl is`: so many times as fast as that peer on the same text. datatrove writes ids and an index of"
        " documents, no sequences, mask or labels. What a peer reads or writes while it encodes stands in the column of"
        " encoding; of asyncdl, `hash` is the sha256 of the shards."
    )
    if arguments.equal:
        yield ""
        yield "## Ids"
        yield ""
        yield "Every id of the whole corpus beside that of `tokenizers`:"
        yield ""
        for vocabulary in arguments.vocabulary:
            yield f"- {vocabulary}: {equal(whole[0], arguments.folder / vocabulary)}"


def of_vocabulary(
    vocabulary: str, whole: tuple[Path, int], part: tuple[Path, int], arguments: argparse.Namespace
) -> dict:
    folder = arguments.folder / vocabulary
    found = {"ours": measure("ours", whole[0], folder, arguments), "part": measure("ours", part[0], folder, arguments)}
    return found | {name: measure(name, part[0], folder, arguments) for name in arguments.peers}


def bars(found: dict[str, dict], whole_bytes: int, part_bytes: int) -> Iterator[str]:
    """What was asked for, of the first vocabulary."""
    measured = next(iter(found.values()))
    rate = whole_bytes / work_s(measured["ours"]) / 1e6
    yield f"| bar, {next(iter(found))} | measured | held |"
    yield "|---|---:|---|"
    yield f"| at least {BAR_MB_PER_S} MB of text per core-second | {rate:.1f} | {held(rate >= BAR_MB_PER_S)} |"
    if BAR_PEER in measured:
        ratio = work_s(measured[BAR_PEER]) / work_s(measured["part"])
        what = f"at least {BAR_RATIO} x {BAR_PEER}, on the same {part_bytes / 1e6:.0f} MB"
        yield f"| {what} | {ratio:.1f} x | {held(ratio >= BAR_RATIO)} |"


def held(is_held: bool) -> str:
    return "yes" if is_held else "**no**"


def mix(corpus: Path) -> str:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(corpus, columns=["group", "text"])
    sizes = pa.table({"group": table["group"], "size": pc.binary_length(table["text"])})
    rows = sizes.group_by("group", use_threads=False).aggregate([("size", "sum")]).to_pylist()
    total = sum(one["size_sum"] for one in rows)
    return ", ".join(
        f"{one['size_sum'] / total:.0%} {one['group']}" for one in sorted(rows, key=lambda one: -one["size_sum"])
    )


def row(found: dict, n_bytes: int, ratio: float | None) -> str:
    cpu_s, total_s = found["cpu_s"], work_s(found)
    stages = [f"{cpu_s[one] * 1e8 / n_bytes:.2f}" if one in cpu_s else "" for one in STAGES]
    figures = [
        *stages,
        f"{cpu_s['load']:.1f}",
        f"{found['peak_bytes'] / 1e6:.0f}",
        f"{found['tokens'] / total_s / 1e6:.2f}",
        f"**{n_bytes / total_s / 1e6:.1f}**",
        "" if ratio is None else f"{ratio:.1f} x",
    ]
    size = f", {n_bytes / 1e6:.0f} MB" if found["name"] == "ours" else ""
    return f"| {PATHS[found['name']][0]}{size} | {found['backend']} | {' | '.join(figures)} |"


def equal(corpus: Path, vocabulary: Path) -> str:
    """Raise SystemExit at the first batch of documents whose ids differ from those of `tokenizers`."""
    os.environ.update(ONE_THREAD)
    sys.path.insert(0, str(ROOT))
    import numpy as np
    import pyarrow.parquet as pq

    from workers import entry, tokens
    from workers.contract import InspectTokenizerTask

    info = entry.run(InspectTokenizerTask(path=str(vocabulary)))
    fast, slow = (tokens.load(info.path, info.sha256, backend) for backend in ("auto", "tokenizers"))
    n_documents = n_tokens = 0
    for batch in pq.ParquetFile(corpus).iter_batches(ROWS // 10, columns=["text"], use_threads=False):
        texts = batch.column(0).to_pylist()
        (flat, offsets), (expected, places) = fast.encode(texts), slow.encode(texts)
        if not (np.array_equal(flat, expected) and np.array_equal(offsets, places)):
            raise SystemExit(
                f"{vocabulary.name}: ids differ within documents {n_documents} to {n_documents + len(texts) - 1}"
            )
        n_documents += len(texts)
        n_tokens += len(flat)
    return f"{n_tokens:,} ids of {n_documents:,} documents, {fast.backend} == {slow.backend}"


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
    parser.add_argument("--equal", action="store_true", help="also compare all ids with those of tokenizers")
    parser.add_argument("--one", choices=PATHS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        run_one(arguments.one, arguments.folder, Path(arguments.vocabulary[0]), arguments.length)
    else:
        text = "\n".join(report(arguments)) + "\n"
        arguments.out.write_text(text)
        print(text)


if __name__ == "__main__":
    main()
