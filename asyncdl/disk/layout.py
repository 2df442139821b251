"""Where things live below the data dir. The same artifact always has the same place."""

from __future__ import annotations

import hashlib
from pathlib import Path

from asyncdl.core.model import Recipe
from asyncdl.core.names import MAX_NAME_BYTES, SafePath

PARTIAL = ".partial"
CORRUPTED = ".corrupted"


def final_path(data_dir: Path, local_root: SafePath, path: SafePath) -> Path:
    """Return where the artifact `path` is published: raw/<org>--<name>/<path>."""
    return data_dir / local_root / path


def partial_path(final: Path) -> Path:
    """Return the unfinished file beside `final`."""
    return _beside(final, PARTIAL)


def corrupted_path(final: Path) -> Path:
    """Return where `final` is kept aside once its content was proven wrong."""
    return _beside(final, CORRUPTED)


def _beside(final: Path, suffix: str) -> Path:
    """A name too long for one more suffix is cut and told apart by a digest of the whole."""
    name = final.name
    if len((name + suffix).encode()) > MAX_NAME_BYTES:
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        name = f"{name.encode()[: MAX_NAME_BYTES - 40].decode(errors='ignore')}-{digest}"
    return final.with_name(name + suffix)


def tokenized_dir(data_dir: Path, recipe: Recipe) -> Path:
    """Return the folder of a recipe's manifest and splits: tokenized/<name>, or where it was told to be."""
    return Path(recipe.output_dir) if recipe.output_dir else data_dir / "tokenized" / recipe.name


def tokenizers_dir(data_dir: Path) -> Path:
    return data_dir / "tokenizers"


def logs_dir(data_dir: Path) -> Path:
    return data_dir / "logs"
