"""`asyncdl run`: the verb and its options. What it does is in `session`."""

from __future__ import annotations

from typing import cast

import click

from asyncdl.cli.options import common, settings_of
from asyncdl.core.model import Kind
from asyncdl.core.names import display
from asyncdl.errors import UsageError


@click.command("run")
@click.option("--workers", metavar="N", help="Requests and files at once; 128.")
@click.option("--processes", metavar="N", help="Worker processes; one less than there are cores.")
@click.option("--max-rate", metavar="SIZE", help="Bytes per second at most, of all requests together: 50MB.")
@click.option("--per-host", metavar="N", help="Requests to one host at most; as many as --workers.")
@click.option("--only", metavar="KIND,...", help="Only these kinds of jobs: download, verify, tokenize.")
@click.option("--forever", is_flag=True, help="Wait for new jobs when the queue is empty.")
@click.option("--allow-private", is_flag=True, default=None, help="Let public hosts redirect to private addresses.")
@click.option("--json", "as_json", is_flag=True, help="Print every event as a line of JSON.")
@click.option(
    "--web", is_flag=False, flag_value="127.0.0.1:8377", metavar="[ADDRESS]", help="Serve the page meanwhile, see web."
)
@click.option("--on-complete", metavar="CMD", help="Start this once all is done; it gets the event as JSON on stdin.")
@click.option(
    "--on-error", metavar="CMD", help="Start this for the first job discarded, and for an end that is not well."
)
@common
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    only: str | None,
    forever: bool,
    as_json: bool,
    on_complete: str | None,
    on_error: str | None,
    web: str | None,
    **settings: str | bool | None,
) -> int:
    """Work on the queue until it is empty: download, verify, tokenize.

    Ctrl-C or SIGTERM finishes what is under way and ends; a second one stops at once. Neither loses anything, nor
    does kill -9: run it again.
    """
    from asyncdl.cli import loop, session
    from asyncdl.cli.hooks import Commands, words_of

    found = settings_of(context, **settings)
    commands = Commands(words_of("--on-complete", on_complete), words_of("--on-error", on_error))
    beside = None
    if web is not None:
        from asyncdl.cli import page
        from asyncdl.cli.actions import actions_of

        beside = page.serving(found, "--web", web, None, actions_of(found))
    return loop.run(
        session.work(found, only=kinds_of(only), forever=forever, as_json=as_json, commands=commands, beside=beside)
    )


def kinds_of(text: str | None) -> frozenset[Kind] | None:
    """Return what --only names. Raises UsageError with what may have been meant."""
    from asyncdl.core.near import did_you_mean, near
    from asyncdl.engine.run import KINDS

    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in KINDS:
            hint = did_you_mean(near(name, KINDS)) or f"there are {', '.join(KINDS)}"
            raise UsageError(f"--only: there is no kind {display(name)}", hint=hint)
    return frozenset(cast("list[Kind]", names))
