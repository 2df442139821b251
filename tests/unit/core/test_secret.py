import copy
import pickle
import traceback

import pytest

from asyncdl.core.secret import Secret

CANARY = "hf_canary"


def test_only_reveal_gives_the_text():
    secret = Secret(CANARY)
    assert secret.reveal() == CANARY
    for text in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r}",
        repr([secret]),
        repr({"a": secret}),
    ):
        assert "***" in text
        assert CANARY not in text


@pytest.mark.parametrize("leave", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_stays_in_its_process(leave):
    with pytest.raises(TypeError, match="stays in its process"):
        leave(Secret(CANARY))


def test_a_traceback_does_not_show_it():
    secret = Secret(CANARY)
    try:
        raise ValueError(secret)
    except ValueError as error:
        assert CANARY not in "".join(traceback.format_exception(error))


def test_a_format_that_a_secret_does_not_know_is_refused_rather_than_obeyed():
    with pytest.raises(TypeError):
        f"{Secret(CANARY):>20}"
