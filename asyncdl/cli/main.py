"""The command `asyncdl`: the group of verbs, the exit codes and how errors are printed.

No traceback reaches the user for anything that was expected; `main` is the supervisor for what was not. Nothing
heavy is imported here: each verb's module on use, and what it needs inside its functions.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import NoReturn

import click

from asyncdl.cli.options import common
from asyncdl.cli.say import Say, let_go_of
from asyncdl.core.names import display
from asyncdl.core.near import did_you_mean, near
from asyncdl.errors import AsyncdlError
from asyncdl.settings import Settings

VERBS = (
    "enqueue", "tokenize", "run", "status", "web", "events", "errors", "retry", "pause", "resume", "cancel", "verify",
    "upload", "doctor", "config", "completion", "demo",
)  # fmt: skip

EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141  # 128 + SIGPIPE: what a shell shows for any program whose reader went away
EXIT_BUG = 70  # EX_SOFTWARE of sysexits.h; 1 is taken by discarded jobs


class Verbs(click.Group):
    """The verbs in the order of use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Import the verb. Raises click.UsageError with what may have been meant."""
        if cmd_name not in VERBS:
            meant = did_you_mean(near(cmd_name, VERBS)) or f"there are {', '.join(VERBS)}"
            raise click.UsageError(f"there is no verb {display(cmd_name)}; {meant}", ctx)
        command = importlib.import_module(f"asyncdl.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run the verb here rather than let click turn a closed pipe into exit 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            return EXIT_PIPE_CLOSED


_HELP = """The name of a dataset becomes verified, training-ready shards on disk.

It may be killed at any moment and loses nothing: run it again.

\b
asyncdl enqueue fineweb-2 --lang swe_Latn    what is wanted
asyncdl run                                  fetch, verify, tokenize
asyncdl status                               how far it is
"""


@click.command(cls=Verbs, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@common
def asyncdl() -> None:
    pass


def main() -> NoReturn:
    """Run the command line and end the process."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")  # a name must not end a program where Latin-1 is spoken
    instruction = os.environ.get("_ASYNCDL_COMPLETE")
    code = _complete(instruction) if instruction else _run()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = EXIT_PIPE_CLOSED
    if code == EXIT_PIPE_CLOSED:
        let_go_of(sys.stdout)
    sys.exit(code)


def _complete(instruction: str) -> int:
    from asyncdl.cli.completion import answer

    return answer(asyncdl, instruction)


def _run() -> int:
    context: click.Context | None = None
    try:
        with asyncdl.make_context("asyncdl", sys.argv[1:]) as context:
            code = asyncdl.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as wrong:
        wrong.show()
        return wrong.exit_code
    except (KeyboardInterrupt, click.Abort):
        Say().info("interrupted")
        return EXIT_INTERRUPTED
    except AsyncdlError as error:
        say = _say(context)
        say.error(error)
        if say.level == "debug":
            sys.stderr.writelines(_traceback(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - supervisor: a bug of ours is told as one, with where to find more
        return _report_bug(error, context)
    return code if isinstance(code, int) else 0


def _settings(context: click.Context | None) -> Settings | None:
    return None if context is None else context.meta.get("asyncdl")


def _say(context: click.Context | None) -> Say:
    found = _settings(context)
    return Say(found.log_level if found else "info")


def _report_bug(error: Exception, context: click.Context | None) -> int:
    from datetime import UTC, datetime

    from asyncdl.disk.layout import logs_dir

    found = _settings(context)
    lines = _traceback(error)
    hint = "please report it with what --log-level debug prints"
    if found is not None:
        log = logs_dir(found.data_dir) / f"bug-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}.txt"
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text("".join(lines), encoding="utf-8")
            hint = f"please report it with {log}"
        except OSError:
            pass  # a full or unwritable disk may be what is wrong; --log-level debug prints it
    say = _say(context)
    say.error(AsyncdlError(f"a bug in asyncdl: {type(error).__name__}: {error}", hint=hint))
    if say.level == "debug":
        sys.stderr.writelines(lines)
    return EXIT_BUG


def _traceback(error: Exception) -> list[str]:
    return [display(line) + "\n" for part in traceback.format_exception(error) for line in part.splitlines()]
