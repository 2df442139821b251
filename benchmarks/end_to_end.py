"""From the name of a dataset to what a trainer reads: asyncdl beside `hf download` followed by datatrove.

    python benchmarks/text_corpus.py FOLDER
    python benchmarks/end_to_end.py FOLDER [--mb 100] [--files 8] [--vocabulary llama3] [--rounds 2] [--out FILE]

The same files from the same server, which is the demo's hub on loopback; the same vocabulary. Clients take turns, each
in a new folder, with all the cores and the processes they take by themselves; CPU is user + system of their process
trees, start-up and loading the vocabulary included. That the same number of ids came out is checked after every run.
asyncdl verifies each file, packs sequences and writes three columns; datatrove writes ids and an index of documents.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import origins
import peers
from runs import Usage, bare_env, say, weigh
from tokenizing import end_of_text, first_mb, peers_python

REPO = "bench/text"
LIMIT_S = 1800.0  # a guess far above what any client needs for the default size
Step = tuple[str, list[str]]


@dataclass(frozen=True)
class Client:
    """steps: (name, command), one after the other in one folder. n_tokens: counts what they left there."""

    name: str
    env: dict[str, str]
    steps: list[Step]
    n_tokens: Callable[[Path], int]


def asyncdl(endpoint: str, vocabulary: Path, length: int) -> Client:
    enqueue = ["enqueue", REPO, "--tokenizer", str(vocabulary), "--max-seq-length", str(length)]
    steps = [(name, [*peers.ASYNCDL, *argv]) for name, argv in (("enqueue", enqueue), ("run", ["run"]))]
    return Client("asyncdl", {**peers.OURS, "HF_ENDPOINT": endpoint}, steps, tokens_in_manifest)


def hf_and_datatrove(endpoint: str, vocabulary: Path, python: Path) -> Client:
    hf = [str(python.with_name("hf")), "download", REPO, "--repo-type", "dataset", "--local-dir", "raw"]
    steps = [
        ("hf download", hf),
        ("datatrove", [str(python), __file__, "raw", "--datatrove", str(vocabulary / "tokenizer.json")]),
    ]
    env = {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return Client("hf download, then datatrove", env, steps, ids_on_disk)


def tokens_in_manifest(folder: Path) -> int:
    [manifest] = folder.glob("datasets/tokenized/*/manifest.json")
    return sum(split["tokens"] for split in json.loads(manifest.read_bytes())["splits"].values())


def ids_on_disk(folder: Path) -> int:
    width = 4  # more ids than two bytes can tell apart, in all our vocabularies but GPT-2
    return sum(path.stat().st_size for path in folder.glob("out/*.ds")) // width


def run_datatrove(raw: Path, tokenizer: str) -> None:
    """In the peers' environment."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(tokenizer)
    eos_token = loaded.id_to_token(end_of_text(loaded))
    reader = ParquetReader(str(raw), glob_pattern="*.parquet", read_metadata=False)
    writer = DocumentTokenizer("out", tokenizer, eos_token=eos_token, shuffle_documents=False)
    # Children of its default, a fork server, are waited for by nobody whose CPU is counted.
    how = {"tasks": len(list(raw.glob("*.parquet"))), "workers": os.cpu_count(), "start_method": "fork"}
    LocalPipelineExecutor([reader, writer], logging_dir="logs", **how).run()


def lay_out(corpus: Path, folder: Path, n_files: int) -> None:
    """The rows of the corpus as that many files, as a dataset on the Hub has them."""
    import pyarrow.parquet as pq

    folder.mkdir()
    table = pq.read_table(corpus, columns=["text"])
    ends = [len(table) * n // n_files for n in range(n_files + 1)]
    for n, (start, end) in enumerate(pairwise(ends)):
        path = folder / f"train-{n:05d}-of-{n_files:05d}.parquet"
        pq.write_table(table[start:end], path, compression="zstd", row_group_size=1000)


def once(client: Client, work: Path) -> tuple[dict[str, Usage], int]:
    with tempfile.TemporaryDirectory(dir=work) as name:
        folder, used = Path(name), {}
        for step, argv in client.steps:
            used[step] = weigh(argv, bare_env(folder, client.env), folder, work / "client.log", LIMIT_S)
            if used[step].fault:
                raise SystemExit(f"{client.name}: {step}: {used[step].fault}")
        n_tokens = client.n_tokens(folder)
    cpu_s, wall_s = (sum(getattr(one, key) for one in used.values()) for key in ("cpu_s", "wall_s"))
    say(f"{client.name}: CPU {cpu_s:.2f} s, wall {wall_s:.2f} s, {n_tokens} ids")
    return used, n_tokens


def report(clients: list[Client], work: Path, text_bytes: int, arguments: argparse.Namespace) -> Iterator[str]:
    found: dict[str, list[dict[str, Usage]]] = {client.name: [] for client in clients}
    counts = set()
    for _ in range(arguments.rounds):
        for client in clients:
            used, n_tokens = once(client, work)
            found[client.name].append(used)
            counts.add(n_tokens)
    if len(counts) != 1:
        raise SystemExit(f"the clients made different numbers of ids: {counts}")
    yield "# From the Hub to packed shards"
    yield ""
    yield (
        f"`python benchmarks/end_to_end.py`, {datetime.now(tz=UTC):%Y-%m-%d}: {text_bytes / 1e6:.0f} MB of text in"
        f" {arguments.files} Parquet files, {counts.pop():,} ids of {arguments.vocabulary}, from the demo's hub on"
        f" loopback. {rounds_told(arguments.rounds)} {os.cpu_count()} cores that others use too,"
        f" {platform.system()} {platform.release()}, Python {platform.python_version()}, {versions(arguments.folder)}."
    )
    yield ""
    yield "| client | CPU, s | of which | wall, s | MB of text per core-second | asyncdl needs |"
    yield "|---|---:|---|---:|---:|---:|"
    ours = median(found[clients[0].name], "cpu_s")
    for client in clients:
        rounds = found[client.name]
        cpu_s, wall_s = median(rounds, "cpu_s"), median(rounds, "wall_s")
        parts = ", ".join(
            f"{step} {statistics.median(one[step].cpu_s for one in rounds):.2f}" for step, _ in client.steps
        )
        ratio = "" if client is clients[0] else f"{ours / cpu_s:.3f} of its CPU"
        yield f"| {client.name} | {cpu_s:.2f} | {parts} | {wall_s:.2f} | {text_bytes / 1e6 / cpu_s:.1f} | {ratio} |"


def rounds_told(n: int) -> str:
    return "One round." if n == 1 else f"Medians of {n} rounds in turn."


def median(rounds: list[dict[str, Usage]], key: str) -> float:
    return statistics.median(sum(getattr(step, key) for step in used.values()) for used in rounds)


def versions(folder: Path) -> str:
    python = peers_python(folder)
    packages = ("huggingface_hub", "datatrove", "tokenizers")
    told = [
        peers.said([python, "-c", f"import importlib.metadata as m; print(m.version({one!r}))"]) for one in packages
    ]
    return ", ".join(f"{one} {version}" for one, version in zip(packages, told, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mb", type=float, default=100, help="of text")
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--vocabulary", default="llama3", help="not gpt2, whose ids datatrove writes in two bytes")
    parser.add_argument("--length", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--datatrove", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.datatrove:
        run_datatrove(arguments.folder, arguments.datatrove)
        return
    corpus, text_bytes = first_mb(arguments.folder / "corpus.parquet", arguments.mb)
    vocabulary = (arguments.folder / arguments.vocabulary).absolute()
    with tempfile.TemporaryDirectory(dir=arguments.folder.absolute()) as name:
        work = Path(name)
        lay_out(corpus, work / "repo", arguments.files)
        with origins.hub(work, REPO, work / "repo") as endpoint:
            ours = asyncdl(endpoint, vocabulary, arguments.length)
            theirs = hf_and_datatrove(endpoint, vocabulary, peers_python(arguments.folder))
            text = "\n".join(report([ours, theirs], work, text_bytes, arguments)) + "\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
