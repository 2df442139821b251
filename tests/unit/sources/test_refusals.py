"""Each refusal of the Hub is another error with another hint; none is taken for a missing dataset."""

import pytest

from asyncdl.errors import ConfigError, RemoteError, UsageError
from asyncdl.sources.resolve import Selection, resolve
from tests.unit.sources.scripted import ENDPOINT, SHA, UNREACHABLE

API = f"{ENDPOINT}/api/datasets/a/b"
INFO = f"{API}/revision/main?expand=sha&expand=gated"


async def refused(hub, target="a/b", kind=Exception):
    with pytest.raises(kind) as caught:
        await resolve(target, Selection(), fetcher=hub, endpoint=ENDPOINT)
    return caught.value


CASES = {
    "gated, no token": ((401, "GatedRepo", "Access is restricted"), ConfigError, "is gated", "accept them at"),
    "gated, not let in": ((403, "GatedRepo", "Not on the list"), ConfigError, "not been let in", "ask for access"),
    "bad token": (
        (401, None, "Invalid credentials in Authorization header"), ConfigError, "refused the token", "settings/tokens"
    ),
    "private or missing, no token": ((401, "RepoNotFound", "Invalid username"), UsageError, "private", "HF_TOKEN"),
    "missing": ((404, "RepoNotFound", "Repository not found"), UsageError, "is not at", "whose token"),
    "no such revision": ((404, "RevisionNotFound", "Invalid rev id"), UsageError, "no revision main", "branches"),
    "disabled": ((403, None, "Access to this resource is disabled."), RemoteError, "has disabled", "may say why"),
    "token too weak": ((403, None, "Forbidden"), ConfigError, "may not read", "the right to read"),
    "odd": ((418, None, "teapot"), RemoteError, "answered 418: teapot", "opens"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_every_refusal_has_its_own_error_and_hint(hub, case):
    answer, kind, message, hint = CASES[case]
    hub.refuse(INFO, *answer)
    error = await refused(hub)
    assert type(error) is kind
    assert message in error.message
    assert hint in error.hint


def test_no_two_refusals_say_the_same():
    assert len({(message, hint) for _, _, message, hint in CASES.values()}) == len(CASES)


async def test_a_gated_repo_is_refused_before_its_files_are_queued(hub):
    hub.repo("a/b", ["x"], gated="auto")
    hub.refuse(f"{API}/auth-check", 403, "GatedRepo")
    assert "gated" in (await refused(hub, kind=ConfigError)).message
    hub.json(f"{API}/auth-check", {})
    assert (await resolve("a/b", Selection(), fetcher=hub, endpoint=ENDPOINT)).revision == SHA


async def test_a_hub_that_knows_no_auth_check_is_no_reason_to_refuse(hub):
    hub.repo("a/b", ["x"], gated="auto")
    assert (await resolve("a/b", Selection(), fetcher=hub, endpoint=ENDPOINT)).revision == SHA


async def test_a_missing_repo_brings_the_nearest_names_of_the_catalogue(hub):
    url = f"{ENDPOINT}/api/datasets/HuggingFaceFW/finweb2/revision/main?expand=sha&expand=gated"
    for status in (401, 404):
        hub.refuse(url, status, "RepoNotFound")
        assert "HuggingFaceFW/fineweb-2" in (await refused(hub, "HuggingFaceFW/finweb2", UsageError)).hint


async def test_a_hub_that_cannot_be_reached_is_named_with_what_was_tried(hub):
    hub.answers[INFO] = UNREACHABLE
    error = await refused(hub, kind=RemoteError)
    assert error.exit_code == 5
    assert "a/b" in error.message
    assert ENDPOINT in error.message
    assert "6 tries" in error.message


@pytest.mark.parametrize("answer", [[], {"id": "a/b"}, {"id": "a/b", "sha": "main"}])
async def test_what_is_no_hub_is_told_apart(hub, answer):
    hub.json(INFO, answer)
    assert "HF_ENDPOINT" in (await refused(hub, kind=RemoteError)).hint


async def test_the_hubs_words_cannot_steer_the_terminal(hub):
    hub.refuse(INFO, 418, None, "x\x1b[2J hf_abcdefghijkl")
    error = await refused(hub)
    assert "\x1b" not in error.message
    assert "hf_abcdefghijkl" not in error.message
