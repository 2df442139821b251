"""`asyncdl config show`: every setting as it counts here, and where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import click

from asyncdl.cli.options import common, settings_of
from asyncdl.core.names import display, redact_url
from asyncdl.core.near import did_you_mean, near
from asyncdl.core.secret import Secret
from asyncdl.settings import Settings

SCHEMA_VERSION = 1

SET = "(set)"
IDENTIFYING = frozenset({"r2_account_id", "r2_key_id", "aws_key_id"})
"""No secrets, but nothing to show around either."""

S3_SOURCES = {
    "r2_endpoint": "R2_ENDPOINT_URL",
    "r2_account_id": "R2_ACCOUNT_ID",
    "r2_key_id": "R2_ACCESS_KEY_ID",
    "r2_secret": "R2_SECRET_ACCESS_KEY",
    "aws_endpoint": "AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL",
    "aws_region": "AWS_REGION or AWS_DEFAULT_REGION",
    "aws_key_id": "AWS_ACCESS_KEY_ID",
    "aws_secret": "AWS_SECRET_ACCESS_KEY",
    "aws_session_token": "AWS_SESSION_TOKEN",
    "aws_unsigned": "AWS_NO_SIGN_REQUEST",
}


class Verbs(click.Group):
    """Answers a verb that is none as the command itself does."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        command = super().get_command(ctx, cmd_name)
        if command is None:
            meant = did_you_mean(near(cmd_name, self.commands)) or f"there is {', '.join(self.commands)}"
            raise click.UsageError(f"there is no verb config {display(cmd_name)}; {meant}", ctx)
        return command


@click.group("config", cls=Verbs)
@common
def command() -> None:
    """Show the settings."""


@command.command("show")
@click.option("--sources", is_flag=True, help="Also where each came from: a flag, a variable, a line of a file.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON, sources included.")
@common
@click.pass_context
def show(context: click.Context, /, *, sources: bool, as_json: bool) -> int:
    """Show every setting as it counts here. Secrets are shown as (set)."""
    found = settings_of(context)
    rows = list(settings(found))
    if as_json:
        import orjson

        record = {name: {"value": value, "source": source} for name, value, source in rows}
        click.echo(orjson.dumps({"schema_version": SCHEMA_VERSION, "settings": record}, option=orjson.OPT_INDENT_2))
        return 0
    width = max(len(name) for name, _, _ in rows)
    for name, value, source in rows:
        shown = "(not set)" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        click.echo(f"{name:<{width}} = {shown}" + (f"    {source}" if sources else ""))
    return 0


def settings(found: Settings) -> Iterator[tuple[str, Any, str]]:
    """Yield (name, what may be shown of its value, where it came from); None for what is not set."""
    for field in fields(found):
        if field.name not in ("sources", "s3"):
            source = display(found.sources.get(field.name, "default"))
            yield field.name, _shown(field.name, getattr(found, field.name)), source
    for field in fields(found.s3):
        value = _shown(field.name, getattr(found.s3, field.name) or None)
        yield field.name, value, S3_SOURCES[field.name] if value else "default"


def _shown(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Secret) or name in IDENTIFYING:
        return SET
    return redact_url(value) if name.endswith("endpoint") else display(str(value))
