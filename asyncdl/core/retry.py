"""What a failure means for its job: the one place that decides between again, later, anew and never.

Every error class that can reach the queue is a key of TREATMENTS. Time is an argument and so is chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

MAX_FAILURES = 10
"""Attempts in a row without a new byte before a job is discarded (the replaced downloader's figure, seed 000)."""

MAX_MISMATCHES = 2
"""How often a file with the wrong digest is fetched again; the third one is what the source really serves."""

MAX_CRASHES = 3
"""Crashes charged to one job before it is discarded (poison)."""

BASE_DELAY_S = 1.0
MAX_DELAY_S = 300.0
"""One of the Hub's five-minute rate windows: waiting longer gains nothing there."""

SEGMENT_BASE_DELAY_S = 0.1
SEGMENT_MAX_DELAY_S = 5.0
MAX_STREAK = 6
"""Failed requests in a row, no byte between them, before a transfer gives its attempt up. Guess."""

RELOCATE_FROM = 3
"""Silent or broken requests in a row before the signed URL is asked for anew: the second went to another address where
there is one, so now the URL itself, or the edge it leads to, is in doubt. Guess."""

MAX_SPREAD_S = 60.0
"""Jobs that a host sent away together come back over this long, or over as long as the pause was. Guess."""

PARK_FROM_S = 30.0
"""A host that asks for a longer pause gets its jobs back into the queue, with run_at; a guess: half a lease."""

NO_HANDLES_S = 3.0
"""The pause after the limit of open files was met: files and connections are closed all the time. Guess."""


class Treatment(Enum):
    AGAIN = "again"  # try again later; counts as a failure unless bytes arrived
    PARK = "park"  # the host, the disk or the process is at its limit; a pause it names is free, else it is AGAIN
    ANEW = "anew"  # the remote object changed: drop what is had, start again
    QUARANTINE = "quarantine"  # the content is wrong: keep it aside, fetch again, at most MAX_MISMATCHES times
    NEVER = "never"  # trying again cannot help; a person must
    STOP = "stop"  # the machine is at fault: the engine must stop


@dataclass(frozen=True, slots=True)
class Meaning:
    """hint: what the user can do, for the summary of errors."""

    treatment: Treatment
    hint: str


_WAIT = "nothing: it is tried again by itself"
_REPORT = "look at the source: it does not serve what it announces"

TREATMENTS: dict[str, Meaning] = {
    "dns": Meaning(Treatment.AGAIN, "check the network and the name of the host"),
    "connect": Meaning(Treatment.AGAIN, "check the network, a proxy, a firewall"),
    "tls": Meaning(Treatment.AGAIN, "check the clock and SSL_CERT_FILE; somebody may be intercepting"),
    "timeout": Meaning(Treatment.AGAIN, _WAIT),
    "stalled": Meaning(Treatment.AGAIN, _WAIT),
    "dropped": Meaning(Treatment.AGAIN, _WAIT),
    "short_body": Meaning(Treatment.AGAIN, _WAIT),
    "http_408": Meaning(Treatment.AGAIN, _WAIT),
    "http_5xx": Meaning(Treatment.AGAIN, _WAIT),
    "range_shifted": Meaning(Treatment.AGAIN, _REPORT),
    "odd_reply": Meaning(Treatment.AGAIN, _REPORT),
    "wrong_length": Meaning(Treatment.AGAIN, _REPORT),
    "html_instead": Meaning(Treatment.AGAIN, "log in to the network (captive portal), or look at the URL"),
    "encoded": Meaning(Treatment.AGAIN, "a proxy compresses on the way; go round it"),
    "redirect_loop": Meaning(Treatment.NEVER, _REPORT),
    "redirect_scheme": Meaning(Treatment.NEVER, "the host redirects to another scheme; asyncdl does not follow"),
    "private_address": Meaning(
        Treatment.NEVER, "a public host led to a private address; --allow-private if that is meant"
    ),
    "rate_limited": Meaning(Treatment.PARK, "nothing; HF_TOKEN raises the Hub's limits"),
    "http_503": Meaning(Treatment.PARK, _WAIT),
    "url_expired": Meaning(Treatment.AGAIN, "check this machine's clock"),
    "remote_changed": Meaning(Treatment.ANEW, _WAIT),
    "digest_mismatch": Meaning(Treatment.QUARANTINE, _REPORT),
    "unauthorized": Meaning(Treatment.NEVER, "set HF_TOKEN, or `hf auth login`, then enqueue again"),
    "bad_token": Meaning(Treatment.NEVER, "the token is not valid; make a new one, then enqueue again"),
    "gated": Meaning(Treatment.NEVER, "accept the terms on the dataset's page with this token's account"),
    "bad_keys": Meaning(Treatment.NEVER, "the S3 keys are not valid there; set the right ones, then enqueue again"),
    "keys_expired": Meaning(Treatment.AGAIN, "renew the keys, for example with `aws sso login`"),
    "clock_wrong": Meaning(Treatment.AGAIN, "set this machine's clock: S3 allows 15 minutes"),
    "replaced": Meaning(Treatment.NEVER, "enqueue again, to take it as it is now"),
    "archived": Meaning(Treatment.NEVER, "restore it from its archive, then enqueue again"),
    "forbidden": Meaning(Treatment.NEVER, "this account may not read it"),
    "not_found": Meaning(Treatment.NEVER, "it was removed, or the revision is wrong; enqueue again"),
    "gone": Meaning(Treatment.NEVER, "it was removed for good"),
    "http_4xx": Meaning(Treatment.NEVER, "the host refuses the request"),
    "no_room": Meaning(Treatment.PARK, "make room on the disk; the run goes on by itself"),
    "no_handles": Meaning(Treatment.PARK, "raise the limit of open files (ulimit -n), or lower --workers"),
    "range_ignored": Meaning(Treatment.AGAIN, _WAIT),
    "bug": Meaning(Treatment.AGAIN, "a bug in asyncdl; please report it with the log"),
    "too_large": Meaning(Treatment.NEVER, "the file is larger than announced; enqueue again"),
    "unwritable": Meaning(Treatment.STOP, "check the owner and the rights of the data dir, then run again"),
    "unstorable": Meaning(Treatment.NEVER, "something else has the name, or the file system cannot have it"),
    "disk_odd": Meaning(Treatment.AGAIN, "look at the file system of the data dir; see the log"),
    "disk_failed": Meaning(Treatment.STOP, "the disk reports errors; check it before going on"),
    "worker_crashed": Meaning(Treatment.AGAIN, "a file or a library crashes the worker; see the log"),
    "worker_timeout": Meaning(Treatment.AGAIN, "the file takes too long; see the log"),
    "worker_error": Meaning(Treatment.AGAIN, "a bug; please report it with the log"),
    "missing_file": Meaning(Treatment.NEVER, "the file was removed; enqueue again"),
    "wrong_size": Meaning(Treatment.NEVER, "the file was changed on disk; enqueue again"),
    "empty_file": Meaning(Treatment.NEVER, _REPORT),
    "not_parquet": Meaning(Treatment.NEVER, _REPORT),
    "bad_footer": Meaning(Treatment.NEVER, _REPORT),
    "bad_structure": Meaning(Treatment.NEVER, _REPORT),
    "missing_column": Meaning(Treatment.NEVER, "name the field with --text-field, or in the catalogue"),
    "bad_pages": Meaning(Treatment.NEVER, _REPORT),
    "not_text": Meaning(Treatment.NEVER, "name the field with --text-field, or in the catalogue"),
    "unverified": Meaning(Treatment.AGAIN, _WAIT),
    "bad_compression": Meaning(Treatment.NEVER, "the file is broken, or was not written to its end; get it again"),
    "bad_lines": Meaning(
        Treatment.NEVER, "see that the file is JSON lines; --text-field names the field, --max-bad-lines lets more pass"
    ),
    "shard_differs": Meaning(Treatment.NEVER, "remove the shard, then put its dataset up for tokenizing again"),
    "bad_tokenizer": Meaning(Treatment.NEVER, "restore the tokenizer, or enqueue with another"),
    "no_eos": Meaning(Treatment.NEVER, "choose a tokenizer that names an end-of-text token"),
    "engine_died": Meaning(Treatment.AGAIN, _WAIT),
    "lease_expired": Meaning(Treatment.AGAIN, "an engine hung or was suspended"),
}

UNREACHABLE = frozenset({
    "dns", "connect", "tls", "timeout", "stalled", "dropped", "short_body", "http_408", "http_5xx", "http_503",
    "rate_limited",
})  # fmt: skip
"""Classes that mean the remote could not be used; a run that ends with only these exits with 5."""

REFUSED_CONTENT = frozenset({
    "digest_mismatch", "html_instead", "wrong_length", "missing_file", "wrong_size", "empty_file", "not_parquet",
    "bad_footer", "bad_structure", "missing_column", "bad_pages", "not_text", "bad_compression", "bad_lines",
})  # fmt: skip
"""Classes that mean the content failed verification; a run that ends with one of these exits with 6."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again at `run_at` (UTC seconds); counts says whether it is charged as a failure."""

    run_at: float
    counts: bool


@dataclass(frozen=True, slots=True)
class Discard:
    """Out of attempts, or trying again cannot help."""


Verdict = RetryAt | Discard


def full_jitter(base_s: float, max_s: float, n: int, jitter: float) -> float:
    """Return a delay in [0, min(max_s, base_s * 2**n)) seconds; jitter in [0, 1).

    Full jitter spreads a crowd that failed together better than any fixed backoff (M. Brooker, "Exponential
    Backoff and Jitter", AWS Architecture Blog, 2015).
    """
    return min(max_s, base_s * 2.0 ** min(n, 30)) * jitter


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How an attempt ended. progressed: new durable bytes came in this attempt, so it is not charged."""

    error_class: str
    failures: int
    n_mismatches: int
    progressed: bool
    retry_after_s: float | None


def after_attempt(failure: Failure, *, now: float, jitter: float) -> Verdict:
    """Decide what becomes of a job whose attempt failed. failures and n_mismatches are those before this one.

    now is UTC seconds, jitter in [0, 1).
    """
    treatment = TREATMENTS[failure.error_class].treatment
    if treatment is Treatment.NEVER:
        return Discard()
    if treatment is Treatment.QUARANTINE:
        return Discard() if failure.n_mismatches >= MAX_MISMATCHES else RetryAt(now, counts=False)
    if treatment is Treatment.STOP:
        return RetryAt(now, counts=False)
    if treatment is Treatment.PARK and failure.retry_after_s is not None:
        spread_s = min(failure.retry_after_s, MAX_SPREAD_S) * jitter  # or all would knock at once when it is over
        return RetryAt(now + failure.retry_after_s + spread_s, counts=False)
    n = 0 if failure.progressed else failure.failures
    if n + 1 >= MAX_FAILURES and not failure.progressed:
        return Discard()
    delay_s = full_jitter(BASE_DELAY_S, MAX_DELAY_S, n, jitter)
    return RetryAt(now + max(delay_s, failure.retry_after_s or 0.0), counts=not failure.progressed)


def after_request(error_class: str, streak: int, jitter: float) -> float | None:
    """Return how many seconds to wait before the same bytes are asked for again, or None to end the attempt.

    streak: failed requests of this transfer in a row, this one included, with no byte between them.
    """
    may_repeat = TREATMENTS[error_class].treatment in (Treatment.AGAIN, Treatment.PARK)
    if not may_repeat or streak >= MAX_STREAK:
        return None
    return full_jitter(SEGMENT_BASE_DELAY_S, SEGMENT_MAX_DELAY_S, streak, jitter)


def must_relocate(error_class: str, streak: int) -> bool:
    """Whether the URL that a redirect led to is given up: the step of the ladder after new connections."""
    return error_class in UNREACHABLE and streak >= RELOCATE_FROM
