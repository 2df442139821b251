"""`asyncdl web`: the page and the metrics over one queue, until it is told to end. How it serves is in `page`."""

from __future__ import annotations

import click

from asyncdl.cli.options import common, settings_of


@click.command("web")
@click.option(
    "--listen", metavar="ADDRESS", default="127.0.0.1:8377", show_default=True, help="HOST:PORT or unix:PATH."
)
@click.option(
    "--token-file", metavar="PATH", help="Whoever comes must know what is in it; it is made if there is none."
)
@click.option("--read-only", is_flag=True, help="No buttons: nothing can be done from the page.")
@common
@click.pass_context
def command(context: click.Context, /, *, listen: str, token_file: str | None, read_only: bool) -> int:
    """Show the queue as a page that stays up to date, and as metrics for Prometheus.

    Only this machine can reach it, unless --listen says otherwise; then it needs --token-file. Ctrl-C ends it.
    """
    from asyncdl.cli import loop, page
    from asyncdl.cli.actions import actions_of

    found = settings_of(context)
    return loop.run(page.serve(found, listen, token_file, {} if read_only else actions_of(found)))
