"""Repositories as the demo hub holds them: revisions that stay, a `main` that moves, files by path.

A revision never changes once it has a sha. Knows git's and the Hub's names for things (blob ids, LFS
pointers), nothing of HTTP.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from asyncdl.demo import corpus_dir
from asyncdl.demo.content import Content, DiskFile, GeneratedFile, InlineFile

__all__ = ["GeneratedFile", "Repo", "Revision", "Viewer", "demo_repos", "files_under"]

Kind = Literal["dataset", "model"]
Files = Mapping[str, Path | bytes | Content]

LFS_ABOVE_BYTES = 1 << 20  # guess; the Hub turns files to LFS above a few MB and by suffix


@dataclass(frozen=True, slots=True)
class Viewer:
    """What the dataset viewer says of a repo. pending, failed: (config, split) pairs that it leaves out.

    partial: only the beginning was converted (split folders are then `partial-<split>`). error: (status,
    X-Error-Code) that every viewer route answers with. revision: the X-Revision sent, or the sha of main.
    """

    partial: bool = False
    pending: tuple[tuple[str, str], ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    error: tuple[int, str] | None = None
    revision: str | None = None


class Revision:
    """One commit: an immutable mapping of path to content. Iteration and listings are in path order."""

    def __init__(self, sha: str, files: Files) -> None:
        self.sha = sha
        self.files = files
        self._contents: dict[str, Content] = {}
        self._listings: dict[tuple[str, bool], list[str]] = {}

    @cached_property
    def paths(self) -> list[str]:
        return sorted(self.files)

    def content(self, path: str) -> Content | None:
        if path not in self._contents:
            source = self.files.get(path)
            if source is None:
                return None
            self._contents[path] = as_content(source)
        return self._contents[path]

    def is_folder(self, path: str) -> bool:
        if not path:
            return True
        at = bisect_left(self.paths, f"{path}/")
        return at < len(self.paths) and self.paths[at].startswith(f"{path}/")

    def listing(self, folder: str, *, recursive: bool) -> list[str]:
        """Paths below `folder` ("" is the root): files, and folders with a final slash; in path order."""
        key = (folder, recursive)
        if key not in self._listings:
            self._listings[key] = sorted(set(self._below(folder, recursive=recursive)))
        return self._listings[key]

    def _below(self, folder: str, *, recursive: bool) -> Iterator[str]:
        prefix = f"{folder}/" if folder else ""
        for path in self.paths[bisect_left(self.paths, prefix) :]:
            if not path.startswith(prefix):
                return
            cut = path.find("/", len(prefix))
            while cut >= 0:
                yield path[: cut + 1]
                cut = path.find("/", cut + 1) if recursive else -1
            if recursive or "/" not in path[len(prefix) :]:
                yield path


class Repo:
    """A dataset or model repository.

    name: `org/name`, or `name` for the old un-namespaced ones. files: path in the repo -> where its bytes
    are; may be a lazy mapping of any size. gated, private, disabled: who may read it; granted: whether the
    hub's token may. renamed_to: requests are sent on to that name. `.parquet` files, and files above 1 MiB,
    are LFS files; all others live in git.
    """

    def __init__(  # noqa: PLR0913  # a repository has that many independent properties
        self,
        name: str,
        files: Files,
        *,
        kind: Kind = "dataset",
        gated: Literal[False, "auto", "manual"] = False,
        private: bool = False,
        granted: bool = True,
        disabled: bool = False,
        renamed_to: str | None = None,
        viewer: Viewer | None = None,
    ) -> None:
        self.name = name
        self.kind: Kind = kind
        self.gated = gated
        self.private = private
        self.granted = granted
        self.disabled = disabled
        self.renamed_to = renamed_to
        self.viewer = viewer or Viewer()
        self._revisions: dict[str, Revision] = {}
        self.branches: dict[str, Revision] = {}
        self.log: list[tuple[str, str, tuple[str, ...]]] = []  # (sha, summary, paths) of each commit that came in
        self.push(files)

    @property
    def main(self) -> Revision:
        return self.branches["main"]

    def push(self, files: Files, branch: str = "main") -> Revision:
        """Make a new revision that the branch points to; `files` is the whole tree. Earlier shas still resolve."""
        number = len(self._revisions)
        digest = hashlib.sha1(f"{self.kind} {self.name} {number}\n".encode(), usedforsecurity=False)
        for path in sorted(files):
            digest.update(f"{path}\0{_stamp(files[path])}\n".encode())
        made = Revision(digest.hexdigest(), files)
        self._revisions[made.sha] = self.branches[branch] = made
        return made

    def revision(self, name: str) -> Revision | None:
        """By sha or branch name. `refs/convert/parquet` is the viewer's view of main."""
        if name in self.branches:
            return self.branches[name]
        if name == CONVERT_REF:
            return self.converted
        return self._revisions.get(name)

    @property
    def converted(self) -> Revision | None:
        """`<config>/<split>/NNNN.parquet` over the Parquet files of main; None where there are none."""
        files: dict[str, Path | bytes | Content] = {}
        for (config, split), paths in self.splits().items():
            folder = f"partial-{split}" if self.viewer.partial else split
            for number, path in enumerate(paths):
                content = self.main.content(path)
                assert content is not None
                files[f"{config}/{folder}/{number:04d}.parquet"] = content
        if not files:
            return None
        sha = hashlib.sha1(f"{self.main.sha} converted".encode(), usedforsecurity=False).hexdigest()
        return self._revisions.setdefault(sha, Revision(sha, files))

    def splits(self) -> dict[tuple[str, str], list[str]]:
        """(config, split) -> Parquet paths of main, from `[data/]<config>/<split>/<file>.parquet`."""
        found: dict[tuple[str, str], list[str]] = {}
        for path in self.main.paths:
            *folders, name = path.removeprefix("data/").split("/")
            if name.endswith(".parquet") and len(folders) <= 2:
                config, split = ["default", "train"][: 2 - len(folders)] + folders
                found.setdefault((config, split), []).append(path)
        return found


CONVERT_REF = "refs/convert/parquet"


def as_content(source: Path | bytes | Content) -> Content:
    if isinstance(source, bytes):
        return InlineFile(source)
    return DiskFile(source) if isinstance(source, Path) else source


def _stamp(source: Path | bytes | Content) -> str:
    """What tells one file from another in a commit id, without reading gigabytes for it."""
    if isinstance(source, bytes):
        return hashlib.sha1(source, usedforsecurity=False).hexdigest()
    if isinstance(source, GeneratedFile):
        return repr(source)
    return str(as_content(source).size_bytes)


def is_lfs(path: str, content: Content) -> bool:
    return path.endswith(".parquet") or content.size_bytes > LFS_ABOVE_BYTES


def lfs_pointer(content: Content) -> bytes:
    """What git itself stores for an LFS file (git-lfs spec v1)."""
    oid, size_bytes = content.sha256, content.size_bytes
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size_bytes}\n".encode()


def files_under(folder: Path) -> dict[str, Path]:
    """Every file below `folder` by its path relative to it."""
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def demo_repos() -> list[Repo]:
    """The packaged corpus as `HuggingFaceFW/fineweb-2`, and a tokenizer trained on it as `demo/tokenizer`."""
    corpus = corpus_dir()
    data = {f"data/{path}": source for path, source in files_under(corpus / "data").items()}
    return [
        Repo("HuggingFaceFW/fineweb-2", {"README.md": corpus / "README.md", **data}),
        Repo("demo/tokenizer", files_under(corpus / "tokenizer"), kind="model"),
    ]
