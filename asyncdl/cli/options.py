"""What all verbs share: the common options, accepted before and after the verb, and the settings they lead to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from asyncdl import __version__, settings
from asyncdl.cli.say import Say

F = TypeVar("F", bound=Callable[..., Any])


def _keep(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Put a given flag where `settings_of` finds it; what stands after the verb is read later and wins."""
    if value is not None and parameter.name is not None:
        context.ensure_object(dict)[parameter.name] = value


def common(function: F) -> F:
    """Add --queue, --data-dir, --log-level and --version to a command (click adds --help)."""
    texts = {
        "--queue PATH": "Where the queue is; ASYNCDL_QUEUE, else ./queue.sqlite.",
        "--data-dir PATH": "Where the data goes; ASYNCDL_DATA_DIR, else ./datasets.",
        "--log-level LEVEL": "debug, info, warning or error; how much is said on stderr.",
    }
    options = [
        click.option(flag, metavar=metavar, expose_value=False, callback=_keep, help=text)
        for (flag, metavar), text in ((name.split(), text) for name, text in texts.items())
    ]
    options.append(click.version_option(__version__, message="asyncdl %(version)s", help="Print the version and end."))
    for option in reversed(options):
        function = option(function)
    return function


def settings_of(context: click.Context, **flags: object) -> settings.Settings:
    """Return the settings of this command. flags: those of the verb itself, None where not given.

    The Hub's token leaves os.environ here, before any child process can exist.
    """
    given = context.ensure_object(dict) | flags
    found = settings.load(given, environ=os.environ, folder=Path.cwd())
    context.meta["asyncdl"] = found
    say = Say(found.log_level)
    if say.wants("debug"):
        for line in found.explain():
            say.debug(f"setting: {line}")
    return found


def next_command(found: settings.Settings, verb: str) -> str:
    """Return the command to type next, with the flags that the user gave for this one."""
    import shlex

    words = ["asyncdl", verb]
    for name, value in (("queue", found.queue), ("data_dir", found.data_dir)):
        flag = "--" + name.replace("_", "-")
        if found.sources.get(name) == flag:
            words += [flag, str(value)]
    return shlex.join(words)
