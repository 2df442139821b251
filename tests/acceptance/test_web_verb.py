"""`asyncdl web` as its users have it: where it listens, who may come, how it ends."""

from __future__ import annotations

import re
import signal
import socket
import stat
from urllib.parse import urlencode

import aiohttp
import pytest

from asyncdl.store.reader import Reader
from tests.support.web_page import Page, fill, form

FILES = {"data/swe/a": 10}


async def said(process, pattern):
    """Read stderr until a line has `pattern`; return its first group."""
    while line := (await process.stderr.readline()).decode():
        if found := re.search(pattern, line):
            return found[1]
    raise AssertionError(f"it ended before it said {pattern}")


async def stopped(process, signum=signal.SIGTERM):
    process.send_signal(signum)
    _, err = await process.communicate()
    return process.returncode, err.decode()


async def status(url, *, path=None, **headers):
    connector = aiohttp.UnixConnector(str(path)) if path else None
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url, headers=headers) as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_the_queue_on_loopback_until_it_is_told_to_end(shell, signum):
    await fill(shell.folder / "queue.sqlite", FILES)
    process = await shell.start("web", "--listen", "127.0.0.1:0")
    url = await said(process, r"the page is at (http://127\.0\.0\.1:\d+/)")
    assert "data/swe" in (await status(url))[1]
    assert "asyncdl_jobs" in (await status(url + "metrics"))[1]
    code, err = await stopped(process, signum)
    assert (code, "Traceback" in err) == (0, False)


async def test_its_buttons_steer_the_queue_and_read_only_has_none(shell):
    queue = shell.folder / "queue.sqlite"
    await fill(queue, FILES | {"data/swe/b": 5}, fail=[("gone", "410")])
    process = await shell.start("web", "--listen", "127.0.0.1:0")
    url = await said(process, r"the page is at (\S+)/\s")
    page = Page(None, url, aiohttp.ClientSession(), None)
    async with page.session:
        for action, scope in (("retry", "kind=download&error_class=gone"), ("pause", "kind=download")):
            async with page.post(f"/do/{action}", form(await page.text("/"), f"/do/{action}", scope)) as answer:
                assert answer.status == 303
        with Reader(queue) as reader:
            assert (reader.job_counts(), [(row.what, row.name) for row in reader.paused()]) == (
                {"download": {"available": 2}},
                [("kind", "download")],
            )
        async with page.post("/do/resume", form(await page.text("/"), "/do/resume", "kind=download")) as answer:
            assert answer.status == 303
        scope = {"dataset": "org/name", "revision": "a" * 40, "subset": "data/swe"}
        asked = form(await page.text("/cancel?" + urlencode(scope)), "/do/cancel", urlencode(scope))
        async with page.post("/do/cancel", asked) as answer:
            assert answer.status == 303
        assert "2 jobs of org/name cancelled" in await page.text("/")
    await stopped(process)
    with Reader(queue) as reader:
        assert (reader.job_counts(), reader.paused()) == ({"download": {"cancelled": 2}}, [])
    process = await shell.start("web", "--listen", "127.0.0.1:0", "--read-only")
    url = await said(process, r"the page is at (\S+)")
    assert "<form" not in (await status(url + "job/1"))[1]
    await stopped(process)


async def test_an_open_stream_does_not_keep_it_from_ending(shell):
    await fill(shell.folder / "queue.sqlite", FILES)
    process = await shell.start("web", "--listen", "127.0.0.1:0")
    url = await said(process, r"the page is at (\S+)")
    async with aiohttp.ClientSession() as session, session.get(url + "events") as answer:
        await answer.content.readuntil(b"\n\n")
        assert (await stopped(process))[0] == 0


async def test_without_a_queue_it_does_not_start(shell):
    ended = await shell("web", "--listen", "127.0.0.1:0")
    assert (ended.code, "there is no queue" in ended.err) == (3, True)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "8377", "unix:"])
async def test_an_address_that_needs_a_token_or_is_none_is_refused(shell, listen):
    await fill(shell.folder / "queue.sqlite", FILES)
    ended = await shell("web", "--listen", listen)
    assert (ended.code, f"--listen {listen}:" in ended.err) == (2, True)


async def test_a_port_that_is_taken_is_told(shell):
    await fill(shell.folder / "queue.sqlite", FILES)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = await shell("web", "--listen", f"127.0.0.1:{port}")
    assert (ended.code, f"127.0.0.1:{port} cannot be listened on" in ended.err) == (3, True)


async def test_a_token_is_made_once_and_for_its_owner_and_never_said(shell):
    await fill(shell.folder / "queue.sqlite", FILES)
    tokens = set()
    for _ in range(2):
        process = await shell.start("web", "--listen", "0.0.0.0:0", "--token-file", "token", "--log-level", "debug")
        port = await said(process, r"the page is at http://0\.0\.0\.0:(\d+)/")
        token = (shell.folder / "token").read_text().strip()
        tokens.add(token)
        url = f"http://127.0.0.1:{port}/"
        assert [(await status(url))[0], (await status(url, Authorization=f"Bearer {token}"))[0]] == [401, 200]
        assert (await status(f"{url}?token={token}"))[
            0
        ] == 401  # the cookie is not sent by this client: another session
        code, err = await stopped(process)
        assert (code, token in err) == (0, False)
    assert len(tokens) == 1
    assert stat.S_IMODE((shell.folder / "token").stat().st_mode) == 0o600
    assert len(tokens.pop()) >= 43


async def test_a_unix_socket_is_for_its_owner_and_goes_away(shell):
    await fill(shell.folder / "queue.sqlite", FILES)
    path = shell.folder / "page.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))  # one that nobody listens on is left behind by a kill
    process = await shell.start("web", "--listen", f"unix:{path}")
    await said(process, r"(the page is at .*page\.sock)")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "data/swe" in (await status("http://localhost/", path=path))[1]
    again = await shell("web", "--listen", f"unix:{path}")
    assert (again.code, "cannot be listened on" in again.err) == (3, True)
    assert "data/swe" in (await status("http://localhost/", path=path))[1]
    assert (await stopped(process))[0] == 0
    assert not path.exists()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
async def test_a_socket_that_somebody_listens_on_is_left_alone(shell, kind):
    """One with a full queue of connections, and one of another kind, answer neither yes nor that nobody is there."""
    await fill(shell.folder / "queue.sqlite", FILES)
    path = shell.folder / "page.sock"
    waiting = []
    with socket.socket(socket.AF_UNIX, kind) as taken:
        taken.bind(str(path))
        if kind == socket.SOCK_STREAM:
            taken.listen(0)
            while not waiting or waiting[-1].connect_ex(str(path)) == 0:
                waiting.append(socket.socket(socket.AF_UNIX, kind))
                waiting[-1].setblocking(False)
        inode = path.stat().st_ino
        ended = await shell("web", "--listen", f"unix:{path}")
        assert (ended.code, "cannot be listened on" in ended.err, path.stat().st_ino) == (3, True, inode)
    for one in waiting:
        one.close()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
async def test_a_token_that_others_can_read_or_change_is_refused(shell, mode):
    await fill(shell.folder / "queue.sqlite", FILES)
    (shell.folder / "token").write_text("t" * 40)
    (shell.folder / "token").chmod(mode)
    ended = await shell("web", "--listen", "127.0.0.1:0", "--token-file", "token")
    assert (ended.code, "is open to others" in ended.err, "tttt" in ended.err) == (3, True, False)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("run", "--web", "0.0.0.0:0"), "--web 0.0.0.0:0: others than this machine"),
        (("run", "--web", "no"), "--web no: an address"),
        (("web", "--listen", "no"), "--listen no: an address"),
        (("web", "--listen", "127.0.0.1:0", "--token-file", "short"), "--token-file short: a token has at least"),
    ],
)
async def test_an_address_or_a_token_that_cannot_be_is_told_with_the_option_it_is_of(shell, args, said):
    await fill(shell.folder / "queue.sqlite", FILES)
    (shell.folder / "short").write_text("abc")
    (shell.folder / "short").chmod(0o600)
    ended = await shell(*args)
    assert (ended.code, said in ended.err) == (2, True)


async def test_a_port_that_is_taken_names_the_option_that_chooses_it_and_nothing_is_run(shell):
    await fill(shell.folder / "queue.sqlite", FILES)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for verb, flag in (("run", "--web"), ("web", "--listen")):
            ended = await shell(verb, flag, address)
            assert (ended.code, f"choose another address for {flag}" in ended.err) == (3, True)
    assert not (shell.folder / "datasets").exists()


async def test_a_file_that_is_no_socket_is_left_alone(shell):
    await fill(shell.folder / "queue.sqlite", FILES)
    (shell.folder / "precious").write_text("mine")
    ended = await shell("web", "--listen", "unix:precious")
    assert (ended.code, (shell.folder / "precious").read_text()) == (3, "mine")
