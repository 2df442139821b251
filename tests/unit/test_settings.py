"""Where settings come from, which one wins, and how a wrong one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncdl import settings
from asyncdl.errors import ConfigError, UsageError


def load(folder, flags=None, **environ):
    environ.setdefault("HF_HOME", str(folder / "no-such-home"))
    return settings.load(flags or {}, environ=environ, folder=folder)


def write(folder, text):
    (folder / "asyncdl.toml").write_text(text)


def test_defaults_are_those_of_the_contract(tmp_path):
    got = load(tmp_path)
    assert (got.queue, got.data_dir, got.workers) == (Path("queue.sqlite"), Path("datasets"), 128)
    assert (got.endpoint, got.token, got.lease_s, got.allow_private) == (
        "https://huggingface.co",
        None,
        60.0,
        False,
    )
    assert got.processes >= 1


def test_flags_win_over_environment_over_file_over_defaults_and_each_value_knows_its_source(tmp_path):
    write(tmp_path, 'queue = "file.sqlite"\ndata_dir = "file"\nworkers = 3\n')
    got = load(tmp_path, {"queue": "flag.sqlite", "data_dir": None}, ASYNCDL_QUEUE="env", ASYNCDL_DATA_DIR="env")
    assert (str(got.queue), got.sources["queue"]) == ("flag.sqlite", "--queue")
    assert (str(got.data_dir), got.sources["data_dir"]) == ("env", "ASYNCDL_DATA_DIR")
    assert (got.workers, got.sources["workers"]) == (3, "asyncdl.toml line 3")
    assert "log_level = info (default)" in got.explain()


def test_an_empty_variable_counts_as_unset(tmp_path):
    assert load(tmp_path, ASYNCDL_QUEUE="", HF_ENDPOINT="").queue == Path("queue.sqlite")


def test_home_is_expanded_where_no_shell_did(tmp_path):
    write(tmp_path, 'data_dir = "~/data"\n')
    assert load(tmp_path).data_dir == Path.home() / "data"


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("# mine\nworkres = 3\n", "line 2: workres", "did you mean workers?"),
        ('queue = "q"\n\n[data_dri]\nx = 1\n', "line 3: data_dri", "did you mean data_dir?"),
        ("zzzzzz = 1\n", "line 1: zzzzzz", "the settings are queue, data_dir"),
    ],
)
def test_an_unknown_key_in_the_file_is_named_with_its_line_and_a_suggestion(tmp_path, text, line, hint):
    write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert line in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.exit_code == 3


def test_an_unknown_variable_with_our_prefix_is_an_error_with_a_suggestion(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, ASYNCDL_WORKRES="3")
    assert "ASYNCDL_WORKRES" in caught.value.message
    assert caught.value.hint == "did you mean ASYNCDL_WORKERS?"


def test_variables_that_other_rooms_read_are_no_error(tmp_path):
    load(tmp_path, ASYNCDL_DATASETS_SERVER="http://127.0.0.1:1")


@pytest.mark.parametrize(
    "text",
    [
        "workers = 0",
        "workers = true",
        'workers = "many"',
        "workers = 1.5",
        'log_level = "loud"',
        'max_rate = "fast"',
        "max_rate = 0",
        "max_rate = true",
        "max_rate = [1]",
        "per_host = 0",
        "lease_s = 0.5",
        "lease_s = true",
        "lease_s = [1]",
        'allow_private = "perhaps"',
        "queue = 5",
        'queue = ""',
        "queue =",
    ],
)
def test_a_bad_value_in_the_file_is_a_config_error_that_names_the_line(tmp_path, text):
    write(tmp_path, text + "\n")
    with pytest.raises(ConfigError, match=r"line 1\b"):
        load(tmp_path)


def test_a_rate_is_a_size_and_there_is_none_unless_asked_for(tmp_path):
    got = load(tmp_path)
    assert (got.max_rate, got.per_host) == (None, None)
    got = load(tmp_path, {"max_rate": "50MB", "per_host": "8"})
    assert (got.max_rate, got.per_host) == (50 * 10**6, 8)
    assert load(tmp_path, ASYNCDL_MAX_RATE="10MiB", ASYNCDL_PER_HOST="3").max_rate == 10 * 2**20
    write(tmp_path, "max_rate = 4096\nper_host = 2\n")
    got = load(tmp_path)
    assert (got.max_rate, got.per_host) == (4096, 2)


def test_a_bad_flag_is_a_usage_error_and_a_bad_variable_a_config_error(tmp_path):
    with pytest.raises(UsageError, match="--workers 0: a whole number from 1 up"):
        load(tmp_path, {"workers": "0"})
    with pytest.raises(ConfigError, match="ASYNCDL_WORKERS=-1"):
        load(tmp_path, ASYNCDL_WORKERS="-1")


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("10GB", 10**10), ("512MiB", 2**29), ("1.5k", 1500), ("2 TiB", 2**41), ("7b", 7)],
)
def test_sizes_are_decimal_unless_they_say_binary(text, size):
    assert settings.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "1e9", "10 GBs", "٣", "1,5GB", "nan"])
def test_a_size_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="is no size"):
        settings.parse_size(text)


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86400), ("250ms", 0.25)])
def test_durations_are_seconds_unless_they_say_otherwise(text, seconds):
    assert settings.parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-5", "1w", "1e3", "inf"])
def test_a_duration_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="is no duration"):
        settings.parse_duration_s(text)


def test_the_token_never_shows_itself_and_leaves_the_environment(tmp_path):
    environ = {"HF_TOKEN": "hf_" + "a" * 30, "HUGGING_FACE_HUB_TOKEN": "hf_" + "b" * 30}
    got = settings.load({}, environ=environ, folder=tmp_path)
    assert got.token is not None
    assert got.token.reveal() == "hf_" + "a" * 30
    assert "aaa" not in f"{got!r} {got.token} {got.token!r} {got.explain()}"
    assert environ == {}


def test_the_token_comes_from_the_older_variable_then_from_the_files_of_the_hub_client(tmp_path):
    (tmp_path / "token").write_text("hf_home\n")
    (tmp_path / "mine").write_text("hf_path\n")
    assert load(tmp_path, HUGGING_FACE_HUB_TOKEN="hf_old").token.reveal() == "hf_old"
    assert load(tmp_path, HF_HOME=str(tmp_path)).token.reveal() == "hf_home"
    assert load(tmp_path, HF_HOME=str(tmp_path), HF_TOKEN_PATH=str(tmp_path / "mine")).token.reveal() == "hf_path"
    (tmp_path / "huggingface").mkdir()
    (tmp_path / "huggingface" / "token").write_text("hf_cache")
    assert load(tmp_path, HF_HOME="", XDG_CACHE_HOME=str(tmp_path)).token.reveal() == "hf_cache"


def test_an_implicit_token_is_not_used_where_the_user_forbade_it(tmp_path):
    got = load(tmp_path, HF_TOKEN="hf_x", HF_HUB_DISABLE_IMPLICIT_TOKEN="1")
    assert got.token is None


def test_a_token_that_could_break_a_header_is_refused_without_showing_it(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, HF_TOKEN="hf_abc\nX-Evil: 1")
    assert "Evil" not in str(caught.value)


def test_the_endpoint_has_no_final_slash(tmp_path):
    assert load(tmp_path, HF_ENDPOINT="http://127.0.0.1:8080/").endpoint == "http://127.0.0.1:8080"


@pytest.mark.parametrize("endpoint", ["huggingface.co", "ftp://x", "https://", "https://user:pw@host", "https://h?q=1"])
def test_an_endpoint_that_is_no_plain_address_is_refused(tmp_path, endpoint):
    with pytest.raises(ConfigError, match="HF_ENDPOINT"):
        load(tmp_path, HF_ENDPOINT=endpoint)


BUCKETS = {
    "R2_ENDPOINT_URL": "https://acc.r2.test", "R2_ACCOUNT_ID": "0" * 32, "R2_ACCESS_KEY_ID": "r2id",
    "R2_SECRET_ACCESS_KEY": "canary-r2", "AWS_ENDPOINT_URL": "https://s3.test", "AWS_DEFAULT_REGION": "eu-north-1",
    "AWS_ACCESS_KEY_ID": "awsid", "AWS_SECRET_ACCESS_KEY": "canary-aws", "AWS_SESSION_TOKEN": "canary-session",
}  # fmt: skip


def test_keys_of_buckets_never_show_themselves_and_leave_the_environment(tmp_path):
    environ = {**BUCKETS, "HF_HOME": str(tmp_path), "AWS_PROFILE": "mine"}
    got = settings.load({}, environ=environ, folder=tmp_path)
    assert "canary" not in f"{environ} {got!r} {got.s3} {got.explain()}"
    assert environ["AWS_PROFILE"] == "mine"
    s3 = got.s3
    assert (s3.r2_endpoint, s3.r2_account_id, s3.r2_key_id) == ("https://acc.r2.test", "0" * 32, "r2id")
    assert (s3.aws_endpoint, s3.aws_region, s3.aws_key_id) == ("https://s3.test", "eu-north-1", "awsid")
    secrets = [one.reveal() for one in (s3.r2_secret, s3.aws_secret, s3.aws_session_token)]
    assert secrets == ["canary-r2", "canary-aws", "canary-session"]


def test_of_two_variables_the_more_special_one_wins(tmp_path):
    special = {"AWS_ENDPOINT_URL_S3": "https://special.test", "AWS_REGION": "eu-west-1"}
    got = load(tmp_path, **BUCKETS, **special).s3
    assert (got.aws_endpoint, got.aws_region) == ("https://special.test", "eu-west-1")


@pytest.mark.parametrize(("text", "unsigned"), [("1", True), ("YES", True), ("0", False), ("", False)])
def test_requests_go_unsigned_where_the_user_says_so(tmp_path, text, unsigned):
    assert load(tmp_path, AWS_NO_SIGN_REQUEST=text).s3.aws_unsigned is unsigned


def test_without_any_of_it_nothing_is_wrong(tmp_path):
    assert repr(load(tmp_path).s3) == "<nothing set>"


def test_a_secret_that_could_break_a_header_is_refused_without_showing_it(tmp_path):
    with pytest.raises(ConfigError, match="AWS_SESSION_TOKEN") as caught:
        load(tmp_path, AWS_SESSION_TOKEN="canary\nX-Evil: 1")
    assert "canary" not in str(caught.value)
