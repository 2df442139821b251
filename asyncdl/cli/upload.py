"""`asyncdl upload`: shards, or any Parquet files, go into a dataset of the Hub. Reads files, never the queue."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asyncdl.cli.options import common, settings_of
from asyncdl.cli.say import Say
from asyncdl.core.names import display, safe_path
from asyncdl.core.secret import Secret
from asyncdl.core.uploads import CARD, Local, State, card_of, state_of
from asyncdl.errors import ConfigError, RemoteError, UnsafeNameError, UsageError
from asyncdl.settings import Settings
from asyncdl.status.figures import bytes_text, count_text, duration_text

if TYPE_CHECKING:
    from asyncdl.engine.checking import Report
    from asyncdl.engine.gathering import Gathered
    from asyncdl.engine.uploading import Progress
    from asyncdl.net.fetch import Fetcher
    from asyncdl.net.hub_writer import HubWriter
    from asyncdl.sources.hub_target import Target

SCHEMA_VERSION = 1
INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command line asks for. prefix: folder in the repo, '' for its root. branch: in the repo."""

    path: Path
    repo: str
    prefix: str
    branch: str
    private: bool
    replace: bool
    dry_run: bool


@dataclass(slots=True)
class Result:
    """What became of it. files: each with what it was before. commit: the branch's, '' where there is none."""

    repo: str
    url: str
    files: list[tuple[Local, State]] = field(default_factory=list)
    created: bool = False
    commit: str = ""
    n_commits: int = 0


@click.command("upload")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("repo", metavar="ORG/DATASET")
@click.option("--private", is_flag=True, help="Make a new repo private; refuse one that is public.")
@click.option("--path-in-repo", "prefix", default="", metavar="FOLDER", help="Where in the repo; else its root.")
@click.option("--revision", "branch", default="main", show_default=True, metavar="BRANCH", help="The branch.")
@click.option("--replace", is_flag=True, help="Replace Parquet files that differ; else they are refused.")
@click.option("--dry-run", is_flag=True, help="Say which files are new, the same or different; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@common
@click.pass_context
def command(context: click.Context, /, *, as_json: bool, **given: Any) -> int:
    """Upload shards to a dataset of the Hub.

    PATH is a tokenized folder with its manifest.json, a folder of Parquet files, or one such file. The repo and the
    branch are made if they are not there. Every file is checked first, what is there already is not sent again, and
    after any kill the same command goes on.
    """
    from asyncdl.cli import loop

    wish = wish_of(**given)
    found = settings_of(context)
    token = _token(found)
    say = Say(found.log_level)
    try:
        result = loop.run(_work(wish, found, token, say))
    except KeyboardInterrupt:
        # The library's threads would be waited for, which for a large file takes hours; nothing here needs an end.
        say.info("interrupted; the same command goes on from here")
        sys.stdout.flush()
        os._exit(INTERRUPTED)
    if as_json:
        import orjson

        click.echo(orjson.dumps(to_json(result, dry_run=wish.dry_run), option=orjson.OPT_INDENT_2))
        return 0
    if wish.dry_run:
        for file, state in result.files:
            click.echo(f"{state:7}  {display(file.path)}  {bytes_text(file.size_bytes)}")
    click.echo(summary(result, dry_run=wish.dry_run))
    return 0


def wish_of(*, path: Path, repo: str, prefix: str, branch: str, **switches: bool) -> Wish:
    """Return what was asked for. Raises UsageError."""
    from asyncdl.sources.entries import REPO_ID

    if not REPO_ID.fullmatch(repo):
        raise UsageError(f"{display(repo)} is not the name of a repo", hint="write it as org/dataset")
    if not path.exists():
        raise UsageError(f"{path} is not there", hint="`asyncdl run` writes shards below DATA_DIR/tokenized")
    try:
        prefix = safe_path(prefix.strip("/")) if prefix.strip("/") else ""
    except UnsafeNameError as error:
        raise UsageError(f"--path-in-repo: {error.message}") from error
    return Wish(path=path, repo=repo, prefix=prefix, branch=branch, **switches)


def _token(found: Settings) -> Secret:
    if found.token is None:
        why = "is empty or not set, and there is no token file"
        if (source := found.sources["token"]) != "default":
            why = f"is not used: {source} says so"
        raise ConfigError(
            f"uploading needs a token, and HF_TOKEN {why}",
            hint=f"make one that may write at {found.endpoint}/settings/tokens; set HF_TOKEN or run `hf auth login`",
        )
    return found.token


async def _work(wish: Wish, found: Settings, token: Secret, say: Say) -> Result:
    from asyncdl.cli.shown import shown
    from asyncdl.engine.checking import Report
    from asyncdl.engine.gathering import gather
    from asyncdl.engine.pool import Pool
    from asyncdl.net.fetch import make_fetcher
    from asyncdl.sources.hub_target import check_token, look
    from asyncdl.sources.refusals import Asked

    if not wish.dry_run:
        _require_library()
    asked = Asked(found.endpoint, "datasets", wish.repo, wish.branch)
    async with make_fetcher(found.endpoint, token, allow_private=found.allow_private) as fetcher:
        await check_token(fetcher, asked, found.sources["token"])
        target = await look(fetcher, asked)
        if wish.private and target.has_repo and not target.is_private:
            raise UsageError(
                f"{wish.repo} is there already, and it is public",
                hint="make it private on its page, leave --private out, or choose another name",
            )
        report = Report()
        with Pool(found.processes) as pool:
            async with shown(say, lambda: checking_line(report)):
                gathered = await gather(wish.path, wish.prefix, pool, report)
        for finding in sorted(report.warnings):
            say.note(f"{finding.path} is not uploaded: {finding.message}")
        result = Result(target.asked.repo, target.asked.page, plan(gathered, target), not target.has_repo, target.sha)
        _refuse_others(result, wish)
        if not wish.dry_run and (any(state != "same" for _, state in result.files) or not target.sha):
            await _upload(fetcher, target, wish, token, result, say)
    return result


def _require_library() -> None:
    try:
        from huggingface_hub import constants
    except ModuleNotFoundError as error:
        raise ConfigError(
            "uploading needs the package huggingface_hub, which is not installed",
            hint="pip install 'asyncdl[upload]'",
        ) from error
    if constants.is_offline_mode():
        raise ConfigError("HF_HUB_OFFLINE is set, and uploading goes to the Hub", hint="unset it")


def plan(gathered: Gathered, target: Target) -> list[tuple[Local, State]]:
    """Return every file with what it is to the repo; first the card, where there is none yet."""
    from asyncdl.engine.gathering import text_file

    files = list(gathered.files)
    if CARD not in target.files:
        title = target.asked.repo.rpartition("/")[2]
        content = gathered.card or card_of(title, gathered.configs).encode()
        files.insert(0, text_file(CARD, content))
    return [(file, state_of(file, target.files.get(file.path), is_there=file.path in target.files)) for file in files]


def _refuse_others(result: Result, wish: Wish) -> None:
    if wish.replace or wish.dry_run:
        return
    others = [file.path for file, state in result.files if state == "differs" and file.content is None]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise UsageError(
            f"{result.repo} has {others[0]}{more} with other content",
            hint="--replace puts yours in their place, --path-in-repo elsewhere; --dry-run lists them",
        )


async def _upload(fetcher: Fetcher, target: Target, wish: Wish, token: Secret, result: Result, say: Say) -> None:
    from asyncdl.cli.shown import shown
    from asyncdl.engine.uploading import Progress, Uploader
    from asyncdl.net.credentials import Credentials
    from asyncdl.net.hub_writer import HubWriter
    from asyncdl.sources.hub_target import listing

    asked = target.asked
    headers = await Credentials(asked.endpoint, token).headers(asked.endpoint, now=time.time())
    writer = HubWriter(asked.endpoint, asked.repo, wish.branch, {"Authorization": headers["Authorization"]})
    progress = Progress()
    wanted = [file for file, state in result.files if state != "same"]
    replace = frozenset(
        file.path for file, _ in result.files if file.path != CARD and (wish.replace or file.content is not None)
    )
    async with shown(say, lambda: uploading_line(progress)):
        uploader = Uploader(writer, await _prepare(writer, target, wish, progress), progress, replace=replace)
        await uploader.upload(wanted)
    result.commit, result.n_commits = uploader.head, progress.n_commits
    _hold_against(await listing(fetcher, asked, uploader.head), result)


async def _prepare(writer: HubWriter, target: Target, wish: Wish, progress: Progress) -> str:
    """Make the repo and the branch where they are not there. Return the commit that was looked at, to go on from."""
    from asyncdl.engine.uploading import patiently

    if not target.has_repo:
        await patiently(lambda: writer.create_repo(private=wish.private), progress)
    if not target.sha and wish.branch != "main":
        await patiently(lambda: writer.create_branch(target.start or "main"), progress)
    return target.start or await patiently(writer.head, progress)


def _hold_against(there: dict[str, Any], result: Result) -> None:
    """Raise RemoteError where the repo does not hold in the end what was uploaded."""
    wrong = [
        file.path
        for file, _ in result.files
        if file.path != CARD and state_of(file, there.get(file.path), is_there=file.path in there) != "same"
    ]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise RemoteError(
            f"the Hub took the upload, but {wrong[0]}{more} of {result.repo} is not what was sent",
            hint="a .gitignore in the repo may name it; else run the same again",
        )


def checking_line(report: Report) -> str:
    """Return how far the check before the upload is."""
    return (
        f"checked {report.n_shards_done:,} of {count_text(report.n_shards_known, 'file')},"
        f" {bytes_text(report.n_bytes_done)} of {bytes_text(report.n_bytes_known)}"
    )


def uploading_line(progress: Progress) -> str:
    """Return how far the upload is, and what it waits for if it does."""
    waits = f"; waits {duration_text(progress.waits_s)}: {progress.why}" if progress.waits_s else ""
    return (
        f"uploaded {bytes_text(progress.n_bytes_sent)} of {bytes_text(progress.n_bytes)},"
        f" {progress.n_files_done:,} of {count_text(progress.n_files, 'file')} committed{waits}"
    )


def _of(result: Result, *states: State) -> tuple[int, int]:
    sizes = [file.size_bytes for file, state in result.files if state in states]
    return len(sizes), sum(sizes)


def summary(result: Result, *, dry_run: bool) -> str:
    """Return the last line for people."""
    n_new, n_bytes = _of(result, "new", "differs")
    n_same, _ = _of(result, "same")
    files = f"{count_text(n_new, 'file')}, {bytes_text(n_bytes)}"
    if dry_run:
        made = ", which would be made" if result.created else ""
        return f"{files} to upload, {n_same:,} there already: {result.url}{made}"
    if not n_new:
        return f"{count_text(n_same, 'file')} there already, nothing to upload: {result.url}"
    commits = count_text(result.n_commits, "commit")
    return f"{files} uploaded in {commits}, {n_same:,} there already: {result.url}"


def to_json(result: Result, *, dry_run: bool) -> dict[str, Any]:
    """Return what docs/CLI.md says of --json."""
    n_new, n_bytes = _of(result, "new", "differs")
    return {
        "schema_version": SCHEMA_VERSION,
        "repo": result.repo,
        "url": result.url,
        "commit": result.commit or None,
        "dry_run": dry_run,
        "created": result.created,
        "commits": result.n_commits,
        "uploaded": n_new,
        "uploaded_bytes": n_bytes,
        "same": _of(result, "same")[0],
        "files": [{"path": file.path, "size": file.size_bytes, "state": state} for file, state in result.files],
    }
