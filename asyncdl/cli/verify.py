"""`asyncdl verify`: whether packed shards are still what their manifests say. Reads files alone, never the queue."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asyncdl.cli.options import common, settings_of
from asyncdl.cli.say import Say
from asyncdl.errors import ConfigError, UsageError
from asyncdl.settings import Settings
from asyncdl.status.figures import bytes_text, count_text

if TYPE_CHECKING:
    from asyncdl.engine.checking import Report

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
HINT = "hint: remove a wrong shard and put its text up again (asyncdl tokenize); asyncdl run makes it anew"

ALL_RIGHT = 0
UNREADABLE = 3
DIFFERS = 6


@click.command("verify")
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(path_type=Path))
@click.option("--deep", is_flag=True, help="Also decode every page and look at every sequence.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@common
@click.pass_context
def command(context: click.Context, /, *, paths: tuple[Path, ...], deep: bool, as_json: bool) -> int:
    """Check packed shards against their manifests: there, size, sha256.

    PATH is a folder with a manifest.json, that manifest, or a folder of such folders; without it, all below
    DATA_DIR/tokenized are checked. Nothing is changed.
    """
    from asyncdl.cli import loop
    from asyncdl.engine.checking import Report

    found = settings_of(context)
    manifests = manifests_of(paths, found)
    say = Say(found.log_level)
    report = Report()
    try:
        loop.run(_work(manifests, found, report, say, deep=deep))
    except KeyboardInterrupt:
        if not as_json:
            _tell_problems(report)  # hours of looking may have gone into them
        raise
    for finding in sorted(report.warnings):
        say.note(f"{finding.path}: {finding.message}")
    if as_json:
        import orjson

        click.echo(orjson.dumps(to_json(report), option=orjson.OPT_INDENT_2))
    else:
        _tell_problems(report)
        click.echo(summary(report))
    code = exit_code(report)
    if code == DIFFERS:
        say.info(HINT)
    return code


def manifests_of(paths: tuple[Path, ...], found: Settings) -> list[Path]:
    """Return the manifests that the paths stand for, each once.

    Raises UsageError for a path that has none, ConfigError for one that cannot be looked at.
    """
    if not paths:
        manifests = sorted((found.data_dir / "tokenized").glob(f"*/{MANIFEST}"))
        if not manifests:
            raise UsageError(
                f"there is no manifest of shards below {found.data_dir / 'tokenized'}",
                hint="`asyncdl enqueue` with --tokenizer and `asyncdl run` make shards; PATH or --data-dir says where"
                " they are",
            )
        return manifests
    each: dict[Path, Path] = {}
    for path in paths:
        try:
            for manifest in _below(path):
                each.setdefault(manifest.resolve(), manifest)
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="check its rights and owner") from error
    return sorted(each.values())


def _below(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if (path / MANIFEST).is_file():
        return [path / MANIFEST]
    if manifests := [*path.glob(f"*/{MANIFEST}"), *path.glob(f"tokenized/*/{MANIFEST}")]:
        return manifests
    wrong = f"has no {MANIFEST}, nor have the folders in it" if path.is_dir() else "is not there"
    raise UsageError(
        f"{path} {wrong}", hint="give the folder tokenized/<tokenizer>-<length>; `asyncdl run` writes its manifest"
    )


async def _work(manifests: list[Path], found: Settings, report: Report, say: Say, *, deep: bool) -> None:
    from asyncdl.cli.shown import shown
    from asyncdl.engine.checking import check
    from asyncdl.engine.pool import Pool

    with Pool(found.processes) as pool:
        async with shown(say, lambda: progress(report, len(manifests))):
            await check(manifests, pool, report, deep=deep)


def progress(report: Report, n_manifests: int) -> str:
    """Return how far it is. What is known grows until the last manifest has been read, hence its number."""
    of = "" if n_manifests == 1 else f", manifest {len(report.manifests)} of {n_manifests}"
    wrong = f", {count_text(len(report.problems), 'problem')}" if report.problems else ""
    return (
        f"checked {report.n_shards_done:,} of {count_text(report.n_shards_known, 'shard')},"
        f" {bytes_text(report.n_bytes_done)} of {bytes_text(report.n_bytes_known)}{of}{wrong}"
    )


def _tell_problems(report: Report) -> None:
    for finding in sorted(report.problems):
        click.echo(f"{finding.path}: {finding.message}")
    sys.stdout.flush()


def summary(report: Report) -> str:
    checked = f"{count_text(report.n_shards_done, 'shard')}, {bytes_text(report.n_bytes_done)}"
    return f"{checked}: {count_text(len(report.problems), 'problem') if report.problems else 'all right'}"


def to_json(report: Report) -> dict[str, Any]:
    """Return what docs/CLI.md says of --json."""
    problems, warnings = (
        [{"path": one.path, "class": one.error_class, "message": one.message} for one in sorted(findings)]
        for findings in (report.problems, report.warnings)
    )
    return {
        "schema_version": SCHEMA_VERSION,
        "manifests": report.manifests,
        "shards": report.n_shards_done,
        "bytes": report.n_bytes_done,
        "problems": problems,
        "warnings": warnings,
        "ok": not problems,
    }


def exit_code(report: Report) -> int:
    """Return DIFFERS where anything is proven wrong, else UNREADABLE where something could not be looked at."""
    from asyncdl.engine.checking import UNCHECKED

    if not report.problems:
        return ALL_RIGHT
    return UNREADABLE if all(one.error_class in UNCHECKED for one in report.problems) else DIFFERS
