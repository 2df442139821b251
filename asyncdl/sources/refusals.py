"""What the Hub's refusals mean for the person who asked: each with the one thing that helps.

The Hub tells an anonymous caller 401 RepoNotFound for a missing repo and for a private one alike, so one message
must say both. Error codes are from X-Error-Code, as huggingface_hub's `hf_raise_for_status` reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import orjson

from asyncdl.core.names import display, redact_url
from asyncdl.core.near import did_you_mean
from asyncdl.errors import AsyncdlError, ConfigError, RemoteError, UsageError
from asyncdl.net.fetch import Answer

Kind = Literal["datasets", "models"]


@dataclass(frozen=True, slots=True)
class Asked:
    """Who was asked for what. endpoint: no final slash. meant: names that may have been meant instead."""

    endpoint: str
    kind: Kind
    repo: str
    revision: str
    meant: tuple[str, ...] = ()

    @property
    def page(self) -> str:
        """The repo's page, for people."""
        return f"{self.endpoint}/{'datasets/' if self.kind == 'datasets' else ''}{self.repo}"


def refusal(answer: Answer, asked: Asked) -> AsyncdlError:
    """Return the error for an answer that is not 200."""
    code, message = answer.headers.get("x-error-code", ""), _message(answer)
    if code == "GatedRepo":
        return _gated(answer.status, asked)
    if answer.status == 401:
        return _unauthorized(message, asked)
    if answer.status == 403:
        return _forbidden(message, asked)
    if answer.status == 404:
        return _missing(code, asked)
    said = f": {display(message[:300])}" if message else ""
    return RemoteError(
        f"{redact_url(answer.url)} answered {answer.status}{said}", hint=f"look whether {asked.page} opens"
    )


def _message(answer: Answer) -> str:
    if "x-error-message" in answer.headers:
        return answer.headers["x-error-message"]
    try:
        body = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return ""
    return str(body.get("error", "")) if isinstance(body, dict) else ""


def _gated(status: int, asked: Asked) -> ConfigError:
    if status == 401:
        return ConfigError(
            f"{asked.repo} is gated: its publisher wants terms accepted first",
            hint=f"accept them at {asked.page}, then set HF_TOKEN or run `hf auth login`",
        )
    return ConfigError(
        f"{asked.repo} is gated, and the account of your token has not been let in",
        hint=f"ask for access at {asked.page}, or use the token of an account that has it",
    )


def _unauthorized(message: str, asked: Asked) -> AsyncdlError:
    if "invalid credentials" in message.lower():
        return ConfigError(
            f"{asked.endpoint} refused the token: it is wrong, expired or revoked",
            hint=f"make a new one at {asked.endpoint}/settings/tokens; for public repos unset HF_TOKEN",
        )
    private = "if it is private, set HF_TOKEN or run `hf auth login`"
    return UsageError(
        f"{asked.repo} is not at {asked.endpoint}, or it is private and no token was sent",
        hint=f"{did_you_mean(asked.meant) or 'check the spelling'}; {private}",
    )


def _forbidden(message: str, asked: Asked) -> AsyncdlError:
    if "disabled" in message.lower():
        return RemoteError(f"{asked.endpoint} has disabled {asked.repo}", hint=f"{asked.page} may say why")
    return ConfigError(
        f"your token may not read {asked.repo}",
        hint=f"give it the right to read this repo at {asked.endpoint}/settings/tokens, or use another token",
    )


def _missing(code: str, asked: Asked) -> UsageError:
    if code == "RevisionNotFound":
        return UsageError(
            f"{asked.repo} has no revision {display(asked.revision)}",
            hint=f"its branches and tags are listed at {asked.page}/tree/main",
        )
    return UsageError(
        f"{asked.repo} is not at {asked.endpoint}, or your account may not see it",
        hint=did_you_mean(asked.meant) or "check the spelling, and whose token it is",
    )
