"""What the user set: flags, then ASYNCDL_* variables, then ./asyncdl.toml, then defaults; read once, never changed.

Each value knows where it came from. An unknown name is an error, for a setting that is silently ignored is worse
than none. The Hub's token and S3 keys are read here too and leave the environment: no child process inherits them.
What only one place needs stays there: `sources` reads where the viewer and the user's catalogue are, `net` the proxies.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from asyncdl.core.names import display
from asyncdl.core.near import did_you_mean, near
from asyncdl.core.s3_keys import S3Keys
from asyncdl.core.secret import Secret
from asyncdl.errors import ConfigError, UsageError

FILE_NAME = "asyncdl.toml"
PREFIX = "ASYNCDL_"

READ_ELSEWHERE = frozenset({"ASYNCDL_DATASETS_SERVER"})
"""Variables with our prefix that are no settings: `sources` reads where the dataset viewer is."""

LOG_LEVELS = ("debug", "info", "warning", "error")

DEFAULT_ENDPOINT = "https://huggingface.co"
TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_TRUE = frozenset({"1", "on", "yes", "true"})  # huggingface_hub's own reading of its switches

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgtp]?)(i?)b?", re.IGNORECASE)
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)?", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(text: str) -> int:
    """Return bytes for `10GB` (10**10), `512MiB` (2**29), `4096`. Raises ValueError that says what is allowed."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{display(text)} is no size; write 500MB, 10GiB or a number of bytes")
    power = " kmgtp".index(match[2].lower() or " ")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power) if power else int(float(match[1]))


def parse_duration_s(text: str) -> float:
    """Return seconds for `90`, `90s`, `1.5m`, `2h`, `1d`. Raises ValueError that says what is allowed."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{display(text)} is no duration; write 30s, 5m, 2h or a number of seconds")
    return float(match[1]) * _SECONDS[(match[2] or "s").lower()]


def _path(raw: object) -> Path:
    if not isinstance(raw, str | Path) or not str(raw):
        raise ValueError("a path is needed")
    return Path(raw).expanduser()


MAX_WORKERS = 4096
MAX_PROCESSES = 8 * (os.cpu_count() or 1)
"""Guesses: beyond the first, sockets and files run out; beyond the second, children only wait for a core."""


def _count(raw: object) -> int:
    text = str(raw)
    if isinstance(raw, bool) or not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise ValueError("a whole number from 1 up is needed")
    return int(text)


def _at_most(limit: int) -> Callable[[object], int]:
    """A count up to `limit`: more would take the machine down before it did any work."""

    def read(raw: object) -> int:
        if (found := _count(raw)) > limit:
            raise ValueError(f"at most {limit} is possible")
        return found

    return read


def _rate(raw: object) -> int:
    if isinstance(raw, bool) or not isinstance(raw, str | int):
        raise ValueError("a number of bytes per second is needed: 50MB, 10MiB")  # noqa: TRY004  # as below
    if (found := parse_size(str(raw))) < 1:
        raise ValueError("a rate above zero is needed; without this setting there is no limit")
    return found


def _log_level(raw: object) -> str:
    if raw not in LOG_LEVELS:
        raise ValueError(f"one of {', '.join(LOG_LEVELS)} is needed")
    return str(raw)


def _lease_s(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise ValueError("a duration is needed: 60, 90s, 5m")  # noqa: TRY004  # the caller adds where it stood
    seconds = parse_duration_s(str(raw))
    if seconds < 1:
        raise ValueError("a lease of at least one second is needed")
    return seconds


def _switch(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    text = str(raw).lower()
    if text in _TRUE:
        return True
    if text in ("0", "off", "no", "false"):
        return False
    raise ValueError("true or false is needed")


@dataclass(frozen=True, slots=True)
class _Key:
    """One setting. parse: raw flag, variable or TOML value -> value; raises ValueError. default: made when asked."""

    parse: Callable[[object], Any]
    default: Callable[[], Any]


_KEYS: dict[str, _Key] = {
    "queue": _Key(_path, lambda: Path("queue.sqlite")),
    "data_dir": _Key(_path, lambda: Path("datasets")),
    "workers": _Key(_at_most(MAX_WORKERS), lambda: 128),
    "processes": _Key(
        _at_most(MAX_PROCESSES), lambda: max(1, (os.cpu_count() or 1) - 1)
    ),  # one core stays with the engine
    "max_rate": _Key(_rate, lambda: None),
    "per_host": _Key(_at_most(MAX_WORKERS), lambda: None),
    "log_level": _Key(_log_level, lambda: "info"),
    "lease_s": _Key(_lease_s, lambda: 60.0),
    "allow_private": _Key(_switch, lambda: False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """queue, data_dir: as given, relative to the working folder. endpoint: the Hub's, no final slash.

    max_rate: bytes per second. per_host: requests to one host at most. None: no limit of their own.

    sources: {setting: where its value came from}, e.g. `--workers`, `ASYNCDL_QUEUE`, `asyncdl.toml line 3`.
    """

    queue: Path
    data_dir: Path
    workers: int
    processes: int
    max_rate: int | None
    per_host: int | None
    log_level: str
    lease_s: float
    allow_private: bool
    endpoint: str
    token: Secret | None
    s3: S3Keys
    sources: Mapping[str, str]

    def explain(self) -> list[str]:
        """Return one line per setting: name, value, source. Secrets stay hidden."""
        names = [field.name for field in fields(self) if field.name != "sources"]
        return [f"{name} = {display(str(getattr(self, name)))} ({self.sources.get(name, 'default')})" for name in names]


def load(flags: Mapping[str, object], *, environ: MutableMapping[str, str], folder: Path) -> Settings:
    """Return the settings. flags: {setting: raw value}, None where a flag was not given.

    environ loses the Hub's token variables. folder: where asyncdl.toml is looked for. Raises UsageError for a
    flag, ConfigError for the environment and the file.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for layer in (_from_file(folder / FILE_NAME), _from_environ(environ), _from_flags(flags)):
        for name, (value, source) in layer.items():
            values[name], sources[name] = value, source
    for name, key in _KEYS.items():
        if name not in values:
            values[name] = key.default()
    endpoint, sources["endpoint"] = _endpoint(environ)
    token, sources["token"] = _token(environ)
    sources["s3"] = "R2_* and AWS_*"
    return Settings(**values, endpoint=endpoint, token=token, s3=_s3(environ), sources=MappingProxyType(sources))


def _from_flags(flags: Mapping[str, object]) -> dict[str, tuple[Any, str]]:
    layer = {}
    for name, raw in flags.items():
        if raw is None:
            continue
        flag = "--" + name.replace("_", "-")
        try:
            layer[name] = (_KEYS[name].parse(raw), flag)
        except ValueError as error:
            raise UsageError(f"{flag} {display(str(raw))}: {error}") from None
    return layer


def _from_environ(environ: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    layer = {}
    known = {PREFIX + name.upper(): name for name in _KEYS}
    for variable, raw in environ.items():
        if not variable.startswith(PREFIX) or variable in READ_ELSEWHERE or not raw:
            continue  # an empty variable counts as unset, as everywhere in the ecosystem
        if variable not in known:
            meant = near(variable.removeprefix(PREFIX), [name.upper() for name in _KEYS])
            raise ConfigError(
                f"the environment has {display(variable)}, which is no setting",
                hint=did_you_mean(tuple(PREFIX + name for name in meant)) or f"the settings are {', '.join(known)}",
            )
        name = known[variable]
        try:
            layer[name] = (_KEYS[name].parse(raw), variable)
        except ValueError as error:
            raise ConfigError(f"{variable}={display(raw)}: {error}") from None
    return layer


def _from_file(path: Path) -> dict[str, tuple[Any, str]]:
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise ConfigError(f"{path} cannot be read: {display(str(error))}") from error
    layer = {}
    for name, raw in table.items():
        where = f"{path.name} line {_line_of(text, name)}"
        if name not in _KEYS:
            raise ConfigError(
                f"{where}: {display(name)} is no setting",
                hint=did_you_mean(near(name, _KEYS)) or f"the settings are {', '.join(_KEYS)}",
            )
        try:
            layer[name] = (_KEYS[name].parse(raw), where)
        except ValueError as error:
            raise ConfigError(f"{where}: {name} = {display(str(raw))}: {error}") from None
    return layer


def _line_of(text: str, name: str) -> int:
    """Look for `name` at the beginning of a line, as a top-level key or table; tomllib keeps no positions."""
    match = re.search(rf"^[ \t\[]*[\"']?{re.escape(name)}\b", text, re.MULTILINE)
    return text.count("\n", 0, match.start()) + 1 if match else 1


def _endpoint(environ: Mapping[str, str]) -> tuple[str, str]:
    given = environ.get("HF_ENDPOINT", "").strip()
    if not given:
        return DEFAULT_ENDPOINT, "default"
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#@]*)?", given):
        raise ConfigError(
            f"HF_ENDPOINT={display(given)} is no http:// or https:// address",
            hint="write it as https://host, without a user, a query or a fragment",
        )
    return given.rstrip("/"), "HF_ENDPOINT"


def _token(environ: MutableMapping[str, str]) -> tuple[Secret | None, str]:
    """Take the token as huggingface_hub does, in its order; the variables are gone from `environ` afterwards."""
    given = {name: environ.pop(name, "").strip() for name in TOKEN_VARIABLES}
    if environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").lower() in _TRUE:
        return None, "HF_HUB_DISABLE_IMPLICIT_TOKEN"
    for name, text in given.items():
        if text:
            return _checked(text, f"the Hub's token from {name}"), name
    path = _token_path(environ)
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None, "default"
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the Hub's token file {path} cannot be read: {display(str(error))}",
            hint="mend its rights, set HF_TOKEN, or HF_HUB_DISABLE_IMPLICIT_TOKEN=1 to go without",
        ) from error
    return (_checked(text, f"the Hub's token from {path}"), str(path)) if text else (None, "default")


def _s3(environ: MutableMapping[str, str]) -> S3Keys:
    """Take S3's and R2's keys; the secrets are gone from `environ` afterwards. What is wrong with them is told to those
    who name a bucket, and to nobody else.
    """

    def secret(variable: str) -> Secret | None:
        text = environ.pop(variable, "").strip()
        return _checked(text, variable) if text else None

    def text(*variables: str) -> str:
        return next((value for value in (environ.get(one, "").strip() for one in variables) if value), "")

    aws_key_id = text("AWS_ACCESS_KEY_ID")
    environ.pop("AWS_ACCESS_KEY_ID", None)  # AWS's own chain would take half a pair for a mistake
    return S3Keys(
        r2_endpoint=text("R2_ENDPOINT_URL"),
        r2_account_id=text("R2_ACCOUNT_ID"),
        r2_key_id=text("R2_ACCESS_KEY_ID"),
        r2_secret=secret("R2_SECRET_ACCESS_KEY"),
        aws_endpoint=text("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        aws_region=text("AWS_REGION", "AWS_DEFAULT_REGION"),
        aws_key_id=aws_key_id,
        aws_secret=secret("AWS_SECRET_ACCESS_KEY"),
        aws_session_token=secret("AWS_SESSION_TOKEN"),
        aws_unsigned=text("AWS_NO_SIGN_REQUEST").lower() in _TRUE,
    )


def _token_path(environ: Mapping[str, str]) -> Path:
    if environ.get("HF_TOKEN_PATH"):
        return Path(environ["HF_TOKEN_PATH"]).expanduser()
    if environ.get("HF_HOME"):
        return Path(environ["HF_HOME"]).expanduser() / "token"
    cache = Path(environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "huggingface" / "token"


def _checked(text: str, what: str) -> Secret:
    """Refuse what cannot stand in a header; the text itself is not shown."""
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ConfigError(f"{what} has blanks or odd characters in it", hint="copy it again")
    return Secret(text)
