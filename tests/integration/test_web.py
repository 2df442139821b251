"""The page over real queues: what it shows, who may see it, who may act, and what its answers carry."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from asyncdl.cli.look import look
from asyncdl.status import view, web_stream
from asyncdl.status.web_guard import CSP, Guard
from asyncdl.status.web_listen import parse
from tests.support import hostile_names
from tests.support.web_page import TOKEN, elements, fill, form, forms, serving
from tests.unit.status.test_snapshot import NOW, enqueue, tokenize_folder, writing

FILES = {f"data/swe/{n:03}": 10 for n in range(120)} | {"data/deu/a": 7}
BUSY = [("http_5xx", "busy")] * 2


@pytest.fixture
def queue(tmp_path):
    return tmp_path / "queue.sqlite"


# What it shows.


async def test_the_first_page_shows_what_status_shows(queue):
    await fill(queue, FILES, fail=BUSY)
    async with serving(queue) as page:
        text = await page.text("/")
    assert "2 x download http_5xx: 2 discarded" in text
    assert "data/swe" in text
    assert "data/deu" in text
    assert "119" in text  # available


async def test_an_empty_queue_says_how_to_fill_it(queue):
    async with writing(queue):
        pass
    async with serving(queue) as page:
        assert "The queue is empty" in await page.text("/")


async def test_the_pages_of_a_dataset_hold_every_file_once(queue):
    await fill(queue, FILES)
    async with serving(queue) as page:
        there = "/dataset?" + urlencode({"dataset": "org/name", "revision": "a" * 40, "subset": "data/swe"})
        seen = []
        while there:
            text = await page.text(there)
            seen += re.findall(r'<th scope="row"><a href="/job/\d+">([^<]*)</a>', text)
            there = next(iter(re.findall(r'<a href="([^"]*)" rel="next">', text)), "").replace("&amp;", "&")
    assert seen == [f"data/swe/{n:03}" for n in range(120)]


async def test_the_pages_of_an_error_hold_every_job_once(queue):
    await fill(queue, FILES, fail=[("http_5xx", "busy")] * 60 + [("dns", "gone")])
    async with serving(queue) as page:
        there, seen = "/errors?kind=download&error_class=http_5xx", []
        while there:
            text = await page.text(there)
            seen += re.findall(r'<a href="(/job/\d+)">', text)
            there = next(iter(re.findall(r'<a href="([^"]*)" rel="next">', text)), "").replace("&amp;", "&")
    assert len(seen) == len(set(seen)) == 60


async def test_a_dataset_that_was_not_downloaded_shows_the_kind_of_work_that_it_has(queue):
    await fill(queue, {"data/swe/a": 1})
    with sqlite3.connect(queue) as connection:
        connection.execute(
            "INSERT INTO counter SELECT dataset_id, 'verify', 'available', 1, 0, 0, 0 FROM counter LIMIT 1"
        )
        connection.execute(
            "INSERT INTO job (dataset_id, kind, path, run_at, created_at) VALUES (1, 'verify', 'v', 0, 0)"
        )
    connection.close()
    async with serving(queue) as page:
        (there,) = re.findall(r'href="(/dataset\?[^"]*)"', await page.text("/"))
        text = await page.text(there.replace("&amp;", "&") + "&kind=verify")
        assert re.findall(r'aria-current="page">([^<]*)<', text) == ["verify"]
        assert ">v</a>" in text


async def test_a_host_shows_what_engines_have_to_do_with_it(queue):
    await fill(queue, {"a": 1})
    plant(queue, "a.test")
    async with serving(queue) as page:
        text = await page.text("/")
    assert "1 of 2 requests, 3 B/s, first byte 500 ms, 4 refused" in text
    assert "tokenized with a.test: a.test" in text


async def test_hosts_are_as_many_as_in_a_terminal_and_the_rest_is_counted(queue):
    await fill(queue, {"a": 1})
    with sqlite3.connect(queue) as connection:
        for n in range(view.MAX_HOSTS + 7):
            connection.execute("INSERT INTO gate VALUES (?, '', ?, ?)", (f"h{n:02}.test", NOW, NOW + 1e9))
    connection.close()
    async with serving(queue) as page:
        text = await page.text("/")
    assert len(set(re.findall(r"h\d\d\.test", text))) == view.MAX_HOSTS
    assert "and 7 more: see asyncdl status --json" in text


async def test_only_hosts_that_datasets_come_from_or_that_are_paused_have_a_button(queue):
    await fill(queue, {"a": 1})
    with sqlite3.connect(queue) as connection:
        connection.execute("UPDATE dataset SET origin = 'https://Hub.test:8443/x'")
        for name in ("hub.test", "cdn.test", "old.test"):
            connection.execute("INSERT INTO gate VALUES (?, '', ?, ?)", (name, NOW, NOW + 1e9))
        connection.execute("INSERT INTO pause VALUES ('host', 'old.test', 1)")
    connection.close()
    async with serving(queue) as page:
        found = forms(await page.text("/"))
    scopes = {(action, fields["scope"]) for action, fields in found if fields["scope"].startswith("host=")}
    assert scopes == {("/do/pause", "host=hub.test"), ("/do/resume", "host=old.test")}


async def test_where_all_files_are_of_this_machine_the_figures_are_those_of_the_stages(queue):
    async with writing(queue) as writer:
        await tokenize_folder(writer, [2**30, 2**30])
    async with serving(queue) as page:
        text = await page.text("/")
        assert re.findall(r'class="label">([^<]*)<.*?class="figure">([^<]*)<', text)[:2] == [
            ("state", "waiting"),
            ("verify", "0/2"),
        ]
        assert "to fetch" not in text
        (row,) = re.findall(r'href="(/dataset\?[^"]*)"', text)
        assert "2.0 GiB" in await page.text(row.replace("&amp;", "&"))
        (cancel,) = re.findall(r'href="(/cancel\?[^"]*)"', await page.text(row.replace("&amp;", "&")))
        text = await page.text(cancel.replace("&amp;", "&"))
        assert "2 unfinished jobs (2 verify), 2.0 GiB to look at" in text


async def test_a_job_shows_its_attempts(queue):
    await fill(queue, {"a": 1}, fail=[("http_5xx", "busy there")])
    async with serving(queue) as page:
        text = await page.text("/job/1")
        assert ("busy there" in text, "discarded" in text) == (True, True)
        async with page.get("/job/999") as answer:
            assert answer.status == 404


@pytest.mark.parametrize("path", ["/dataset?dataset=no", "/job/x", "/nothing", "/static/../web.py", "/static/nothing"])
async def test_what_is_not_there_is_not_found(queue, path):
    await fill(queue, FILES)
    async with serving(queue) as page, page.get(path) as answer:
        assert answer.status == 404


@pytest.mark.parametrize("number", ["-1", "x", "9" * 19, "9" * 40, "1e3", "²"])
async def test_a_page_number_that_is_none_is_refused(queue, number):
    await fill(queue, FILES)
    async with serving(queue) as page, page.get("/datasets?" + urlencode({"from": number})) as answer:
        assert answer.status == 400


async def test_reading_needs_no_script(queue):
    """Links and forms are plain, and without scripts the page comes again by itself."""
    await fill(queue, FILES, fail=BUSY)
    async with serving(queue) as page:
        text = await page.text("/")
    assert '<noscript><meta http-equiv="refresh"' in text
    assert not [attribute for _, names in elements(text) for attribute in names if attribute.startswith("on")]


# Names and texts from outside.

MARKUP = [
    "<script>alert(1)</script>", "</title><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onclick='x",
    "</table></main><iframe src=//evil.test>", "{{ 7 * 7 }}", "{% raw %}", "&lt;b&gt;", "<!--", "]]>", "javascript:alert(1)",
    "data: x\n\nevent: overview\ndata: <b>", "x" * 4096, "<svg/onload=alert(1)>", "a\r\nSet-Cookie: x=1", "%3Cscript%3E", "hf_abcdefghijk",
]  # fmt: skip
ALL_NAMES = [
    name
    for name in [*hostile_names.ALL, *hostile_names.HARMLESS, *MARKUP]
    if name not in hostile_names.NOT_UNICODE and "\0" not in name  # neither can be in SQLite's texts
]
STORABLE = [
    *(
        " ".join(one for one in ALL_NAMES[n::16] if len(one) < 50) for n in range(16)
    ),  # some at a time, for each is a round of all pages
    *(name for name in ALL_NAMES if len(name) >= 50),
]
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]")


def plant(queue, name):
    """Put `name` wherever a text from outside may stand, by hand, for the store refuses most of these."""
    text, name = name, name[:400]  # no name is longer than core.names.MAX_PATH_BYTES; a text may be
    with sqlite3.connect(queue) as connection:
        connection.execute("UPDATE dataset SET name = ?, revision = ?", (f"org/{name}", name))
        connection.execute("UPDATE dataset SET subset = ? WHERE subset = 'data/swe'", (name,))
        connection.execute("UPDATE job SET path = ? WHERE id = 1", (name,))
        connection.execute("UPDATE job SET error_text = ?, error_class = ? WHERE error_class IS NOT NULL", (text, name))
        connection.execute("UPDATE attempt SET error_text = ?, error_class = ?, owner = ?", (text, name, name))
        connection.execute("UPDATE engine SET host = ?, bound = ?, beat_at = 9e9", (name, name))
        connection.execute("INSERT INTO traffic SELECT owner, ?, 1, 2, 3, 0.5, 4 FROM engine", (name,))
        connection.execute(
            "INSERT OR REPLACE INTO recipe (id, name, tokenizer, tokenizer_path, tokenizer_sha256, eos_id, max_seq_length, backend)"
            " VALUES (1, ?, '', '', '', 0, 2, ?)", (name, text),
        )  # fmt: skip
        connection.execute("INSERT INTO gate VALUES (?, '', ?, ?)", (name, NOW, NOW + 1e9))
    connection.close()


async def every_page(page):
    """The text of each kind of page, reached over the links of the page before, as a browser would."""
    first = await page.text("/")
    paths = ["/datasets", *re.findall(r'href="(/(?:dataset|errors|cancel)\?[^"]*)"', first), "/job/1"]
    texts = [first]
    for path in dict.fromkeys(paths):
        texts.append(await page.text(path.replace("&amp;", "&")))
    async with page.get("/events") as answer:
        texts.append((await answer.content.readuntil(b"\n\n")).decode())
    return texts


async def test_no_name_and_no_text_from_outside_becomes_an_element_or_steers(queue):
    await fill(queue, {"data/swe/000": 10, "data/deu/a": 7}, fail=BUSY[:1])
    async with serving(queue, every_s=0) as page:
        plant(queue, "plain")
        harmless = [sorted(set(elements(text))) for text in await every_page(page)]
        for name in STORABLE:
            plant_again(queue, name)
            texts = await every_page(page)
            assert [sorted(set(elements(text))) for text in texts] == harmless, repr(name)
            assert not any(STEERING.search(text) for text in texts), repr(name)


def plant_again(queue, name):
    with sqlite3.connect(queue) as connection:
        connection.execute("DELETE FROM gate")
        connection.execute("DELETE FROM traffic")
        connection.execute(
            "UPDATE dataset SET subset = 'data/swe' WHERE id = (SELECT dataset_id FROM job WHERE id = 1)"
        )
    connection.close()
    plant(queue, name)


@pytest.mark.parametrize("name", ["a<b>&c", "token=abcdefgh", "hf_abcdefghijklmn", "x y/ü#?%2F", "\u202egpj", "a\nb"])
async def test_a_button_names_to_the_action_exactly_what_is_in_the_queue(queue, name):
    await fill(queue, {"a": 1})
    plant(queue, name)
    async with serving(queue) as page:
        (there,) = re.findall(r'href="(/dataset\?[^"]*)"', await page.text("/"))
        text = await page.text(there.replace("&amp;", "&"))
        fields = form(text, "/do/pause", urlencode({"dataset": f"org/{name}"}))
        async with page.post("/do/pause", fields) as answer:
            assert answer.status == 303
        assert page.recorded.calls == [("pause", {"dataset": f"org/{name}"})]
        async with page.get(answer.headers["Location"]) as back:
            assert back.status == 200


# Acting.


async def test_retry_calls_the_action_with_the_class_and_says_what_came_of_it(queue):
    await fill(queue, FILES, fail=BUSY)
    async with serving(queue) as page:
        scope = urlencode({"kind": "download", "error_class": "http_5xx"})
        fields = form(await page.text("/"), "/do/retry", scope)
        async with page.post("/do/retry", fields) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/")
        assert page.recorded.calls == [("retry", {"kind": "download", "error_class": "http_5xx"})]
        assert "retry was done to 3 &lt;i&gt;jobs&lt;/i&gt;" in await page.text("/")


async def test_an_action_that_fails_says_why(queue):
    await fill(queue, FILES)
    async with serving(queue) as page:
        page.recorded.failing.add("pause")
        fields = form(await page.text("/"), "/do/pause", "kind=download")
        async with page.post("/do/pause", fields) as answer:
            assert answer.status == 303
        assert "pause failed: it &lt;b&gt;cannot&lt;/b&gt; be; try later" in await page.text("/")


async def test_cancel_says_how_much_and_asks_before_it_acts(queue):
    await fill(queue, FILES)
    async with serving(queue) as page:
        scope = {"dataset": "org/name", "revision": "a" * 40, "subset": "data/swe"}
        asked = await page.text("/cancel?" + urlencode(scope))
        assert "120 unfinished jobs (120 download), 1.2 KiB to fetch" in asked
        fields = form(asked, "/do/cancel", urlencode(scope))
        unsure = {name: value for name, value in fields.items() if name != "sure"}
        async with page.post("/do/cancel", unsure) as answer:
            assert answer.status == 303
            assert dict(parse_qsl(urlsplit(answer.headers["Location"]).query)) == scope
        assert page.recorded.calls == []
        async with page.post("/do/cancel", fields) as answer:
            assert answer.status == 303
        assert page.recorded.calls == [("cancel", scope)]


async def test_cancel_counts_the_unfinished_jobs_of_every_kind(queue):
    await fill(queue, {"data/swe/a": 1, "data/swe/b": 1, "data/swe/c": 1}, fail=BUSY[:1])
    with sqlite3.connect(queue) as connection:
        connection.execute("UPDATE counter SET n = 1 WHERE kind = 'download' AND state = 'available'")
        connection.execute(
            "INSERT INTO counter SELECT dataset_id, k.kind, k.state, 1, 0, 0, 0 FROM counter,"
            " (SELECT 'verify' kind, 'running' state UNION SELECT 'tokenize', 'completed') k WHERE counter.state = 'discarded'"
        )
    connection.close()
    async with serving(queue) as page:
        scope = {"dataset": "org/name", "revision": "a" * 40, "subset": "data/swe"}
        assert "3 unfinished jobs (2 download, 1 verify)" in await page.text("/cancel?" + urlencode(scope))


async def test_one_job_is_retried_by_its_number(queue):
    await fill(queue, FILES, fail=BUSY)
    async with serving(queue) as page:
        fields = form(await page.text("/job/1"), "/do/retry", "job_id=1")
        async with page.post("/do/retry", fields) as answer:
            assert answer.headers["Location"] == "/job/1"
        assert page.recorded.calls == [("retry", {"job_id": 1})]


async def test_without_actions_there_are_no_buttons_and_nothing_can_be_done(queue):
    await fill(queue, FILES, fail=BUSY)
    async with serving(queue) as page:
        csrf = form(await page.text("/job/1"), "/do/retry", "job_id=1")["csrf"]
        assert csrf
    async with serving(queue, actions={}) as page:
        texts = [text for text in await every_page(page) if not text.startswith("event:")]
        assert [forms(text) for text in texts] == [[]] * len(texts)
        async with page.get("/cancel?dataset=org/name&subset=data/swe&revision=" + "a" * 40) as answer:
            assert answer.status == 404


async def test_an_action_that_no_page_has_a_button_for_is_a_mistake_of_ours(queue):
    await fill(queue, FILES)
    with pytest.raises(ValueError, match="explode"):
        async with serving(queue, actions={"explode": str}):
            pass


@pytest.mark.parametrize(
    "scope", ["", "kind=download", "kind=a&error_class=b&error_class=c", "job_id=x", "job_id=1&a=b", "job_id="]
)
async def test_a_scope_that_no_page_writes_is_refused(queue, scope):
    await fill(queue, FILES, fail=BUSY)
    async with serving(queue) as page:
        fields = form(await page.text("/job/1"), "/do/retry", "job_id=1") | {"scope": scope}
        async with page.post("/do/retry", fields) as answer:
            assert answer.status == 400
        assert page.recorded.calls == []


@pytest.mark.parametrize(
    "back", ["https://evil.test/", "//evil.test/", "/\\evil.test", "javascript:alert(1)", "/a\nb", ""]
)
async def test_an_action_leads_back_to_this_page_only(queue, back):
    await fill(queue, FILES)
    async with serving(queue) as page:
        fields = form(await page.text("/"), "/do/pause", "kind=download") | {"back": back}
        async with page.post("/do/pause", fields) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/")


# Who may act.


async def tried(page, *, csrf=None, **headers):
    """The status of an action that would be let through but for what is given here."""
    fields = form(await page.text("/"), "/do/pause", "kind=download")
    fields |= {} if csrf is None else {"csrf": csrf}
    async with page.post("/do/pause", fields, **headers) as answer:
        return answer.status


async def test_an_action_without_the_pages_own_token_is_refused(queue):
    await fill(queue, FILES)
    async with serving(queue) as page:
        assert [await tried(page, csrf=wrong) for wrong in ("", "0" * 64, "é")] == [403] * 3
        async with page.post("/do/pause", {"scope": "kind=download"}) as answer:
            assert answer.status == 403
        async with page.get("/do/pause?scope=kind%3Ddownload") as answer:
            assert answer.status == 405
        assert page.recorded.calls == []


async def test_an_action_that_another_site_sends_is_refused_though_it_has_the_token(queue):
    await fill(queue, FILES)
    async with serving(queue) as page:
        port = urlsplit(page.url).port
        others = [
            {"Origin": "https://evil.test"},
            {"Origin": "null"},
            {"Origin": f"http://127.0.0.1:{port + 1}"},
            {"Origin": f"http://localhost:{port}"},
            {"Origin": "http://["},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "none"},
        ]
        assert [await tried(page, **headers) for headers in others] == [403] * len(others)
        assert page.recorded.calls == []
        assert await tried(page, Origin=page.url, **{"Sec-Fetch-Site": "same-origin"}) == 303
        assert len(page.recorded.calls) == 1


# Who may see it.


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "evil.test:8377",
        "127.0.0.1.evil.test",
        "localhost@evil.test",
        "",
        "[",
        "a b",
        "192.0.2.1",
        "127.0.0.1:x",
    ],
)
async def test_a_page_on_loopback_answers_to_no_other_name(queue, host):
    """A name that an attacker's DNS points to us (rebinding) would make our page his origin."""
    await fill(queue, FILES)
    async with serving(queue) as page:
        for path in ("/", "/metrics", "/healthz", "/static/page.css", "/nothing"):
            async with page.get(path, Host=host) as answer:
                assert answer.status in (400, 421)
                assert "data/swe" not in await answer.text()


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost", "LocalHost:9000", "[::1]:8377"])
async def test_a_page_on_loopback_answers_to_loopback_at_any_port(queue, host):
    """A tunnel of ssh has a port of its own."""
    await fill(queue, FILES)
    async with serving(queue) as page, page.get("/", Host=host) as answer:
        assert answer.status == 200


async def test_elsewhere_it_answers_to_addresses_and_to_its_own_name_only(queue):
    await fill(queue, FILES)
    async with serving(queue, listen="gpu-7.test:8377", token=TOKEN) as page:
        got = {}
        for host in ("192.0.2.1:8377", "gpu-7.test:8377", "localhost", "evil.test"):
            async with page.get("/", Host=host, Authorization=f"Bearer {TOKEN}") as answer:
                got[host] = answer.status
    assert got == {"192.0.2.1:8377": 200, "gpu-7.test:8377": 200, "localhost": 200, "evil.test": 421}


@pytest.mark.parametrize("listen", ["0.0.0.0:8377", "[::]:8377", "192.0.2.1:8377", "gpu-7.test:1"])
def test_off_loopback_a_token_is_needed(listen):
    with pytest.raises(ValueError, match="token is needed"):
        Guard(parse(listen), None)
    Guard(parse(listen), TOKEN)


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "[::1]:1", "localhost:1", "127.9.9.9:1", "unix:socket"])
def test_on_loopback_none_is_needed(listen):
    Guard(parse(listen), None)


@pytest.mark.parametrize("token", ["", "short", "x" * 15])
def test_a_token_that_could_be_guessed_is_refused(token):
    with pytest.raises(ValueError, match="at least 16"):
        Guard(parse("0.0.0.0:1"), token)


@pytest.mark.parametrize(
    "text", ["", "8377", "host", "host:", ":1", "a:b", "host:99999", "a@b:1", "http://a:1", "a:1/b", "unix:", "::1:80"]
)
def test_an_address_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"needed|needs"):
        parse(text)


async def test_without_the_token_nothing_is_shown_but_whether_it_is_up(queue):
    await fill(queue, FILES)
    async with serving(queue, token=TOKEN) as page:
        for path in ("/", "/events", "/datasets", "/metrics", "/job/1", "/static/page.css", "/nothing"):
            for headers in (
                {},
                {"Authorization": "Bearer wrong"},
                {"Authorization": f"Basic {TOKEN}"},
                {"Cookie": "asyncdl=x"},
            ):
                async with page.get(path, **headers) as answer:
                    assert (answer.status, "data/swe" in await answer.text()) == (401, False)
        async with page.post("/do/pause", {"scope": "kind=download"}) as answer:
            assert answer.status == 401
        for path in ("/healthz", "/readyz"):
            assert await page.text(path)


async def test_the_link_with_the_token_becomes_a_strict_cookie_and_loses_the_token(queue):
    await fill(queue, FILES)
    async with serving(queue, token=TOKEN) as page:
        async with page.get(f"/dataset?dataset=a%26b&token={TOKEN}&subset=c") as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/dataset?dataset=a%26b&subset=c")
            cookie = answer.headers["Set-Cookie"]
        assert {part.strip() for part in cookie.split(";")[1:]} == {"HttpOnly", "Path=/", "SameSite=Strict"}
        assert TOKEN not in cookie
        assert "data/swe" in await page.text("/")
        fields = form(await page.text("/"), "/do/pause", "kind=download")
        async with page.post("/do/pause", fields) as answer:
            assert answer.status == 303


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "é"])
async def test_a_wrong_token_in_a_link_gives_no_cookie(queue, token):
    await fill(queue, FILES)
    async with serving(queue, token=TOKEN) as page, page.get("/?" + urlencode({"token": token})) as answer:
        assert (answer.status, "Set-Cookie" in answer.headers) == (403, False)


@pytest.mark.parametrize("path", ["//evil.test/x", "///evil.test", "/\\evil.test", "//evil.test/", "/%5Cevil.test"])
async def test_the_link_with_the_token_leads_to_this_page_only(queue, path):
    await fill(queue, FILES)
    async with serving(queue, token=TOKEN) as page:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(page.url).port)
        writer.write(f"GET {path}?token={TOKEN}&a=b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
    for location in re.findall(r"(?i)^location: *(.*)\r$", answer, re.MULTILINE):
        assert re.fullmatch(r"/(?![/\\]).*|/", location)
    assert TOKEN not in answer


async def test_the_token_is_shown_nowhere(queue, caplog):
    await fill(queue, FILES, fail=BUSY)
    caplog.set_level("DEBUG")
    guard = Guard(parse("0.0.0.0:1"), TOKEN)
    assert TOKEN not in repr(vars(guard))
    async with serving(queue, token=TOKEN) as page:
        async with page.get(f"/?token={TOKEN}") as answer:
            seen = [str(answer.headers), await answer.text()]
        seen += await every_page(page)
    assert not [text for text in [*seen, caplog.text] if TOKEN in text]


async def test_every_answer_carries_the_headers_that_keep_others_out(queue):
    await fill(queue, FILES)
    async with serving(queue) as page:
        answers = {}
        for path in (
            "/",
            "/events",
            "/metrics",
            "/healthz",
            "/readyz",
            "/static/page.css",
            "/nothing",
            "/job/999",
            "/do/pause",
        ):
            async with page.get(path) as answer:
                answers[path] = answer.headers
        async with page.get("/", Host="evil.test") as answer:
            answers["wrong host"] = answer.headers
        async with page.post("/do/pause", {}) as answer:
            answers["forged"] = answer.headers
        queue.unlink()
        async with page.get("/job/1") as answer:
            assert answer.status == 503
            answers["no queue"] = answer.headers
    for headers in answers.values():
        assert headers["Content-Security-Policy"] == CSP
        assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "same-origin")
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Server"] == "asyncdl"
    assert {path for path, headers in answers.items() if headers["Cache-Control"] != "no-store"} == {"/static/page.css"}


async def test_nothing_is_loaded_from_outside_and_nothing_stands_inline(queue):
    await fill(queue, FILES, fail=BUSY)
    async with serving(queue) as page:
        for text in await every_page(page):
            loaded = re.findall(r'(?:src|href|action)="([^"]*)"', text)
            assert all(where.startswith(("/", "#")) and not where.startswith("//") for where in loaded)
            assert " style=" not in text
            assert not re.search(r"<script>|<script [^>]*>[^<]|<style", text)


async def test_a_queue_that_is_gone_is_told_and_found_again(queue):
    await fill(queue, FILES)
    async with serving(queue, every_s=0) as page:
        there = queue.rename(queue.with_name("away"))
        async with page.get("/") as answer:
            assert answer.status == 503
            assert "there is no queue" in await answer.text()
        async with page.get("/readyz") as answer:
            assert answer.status == 503
        assert await page.text("/healthz")
        there.rename(queue)
        assert "data/swe" in await page.text("/")
        assert await page.text("/readyz")


async def test_a_queue_of_a_later_version_is_not_ready(queue):
    await fill(queue, FILES)
    with sqlite3.connect(queue) as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()
    async with serving(queue) as page, page.get("/readyz") as answer:
        assert answer.status == 503


async def test_a_form_that_is_too_large_is_refused(queue):
    await fill(queue, FILES)
    async with serving(queue) as page, page.post("/do/pause", {"scope": "x" * 100_000}) as answer:
        assert answer.status == 413


# The stream.


async def first_events(answer, n):
    return [(await answer.content.readuntil(b"\n\n")).decode() for _ in range(n)]


async def test_the_stream_shows_what_is_written_meanwhile(queue):
    await fill(queue, {"data/swe/0": 1})
    async with serving(queue) as page, page.get("/events") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        (event,) = await first_events(answer, 1)
        assert event.startswith("event: overview\ndata: ")
        assert "data/deu" not in event
        async with writing(queue) as writer:
            await enqueue(writer, {"data/deu/0": 1})
        while "data/deu" not in event:
            (event,) = await first_events(answer, 1)


async def test_all_who_look_share_one_snapshot_and_none_is_taken_while_nobody_does(queue):
    await fill(queue, FILES)
    async with serving(queue, every_s=3600) as page:
        async with page.get("/events") as one, page.get("/events") as two:
            events = [*await first_events(one, 1), *await first_events(two, 1)]
        assert events[0] == events[1]
        await page.text("/")
        await page.text("/metrics")
        assert "asyncdl_snapshots_total 1.0" in await page.text("/metrics")


async def test_what_was_done_is_seen_at_once(queue):
    await fill(queue, FILES)
    async with serving(queue, every_s=3600) as page:
        fields = form(await page.text("/"), "/do/pause", "kind=download")
        async with page.post("/do/pause", fields):
            pass
        assert "pause was done" in await page.text("/")


async def test_a_look_that_is_under_way_when_something_is_done_is_not_kept(queue):
    """It may have read the queue before, and an hour is long."""
    await fill(queue, FILES)
    under_way, done, n_looks = asyncio.Event(), threading.Event(), 0
    loop = asyncio.get_running_loop()

    def take(reader):
        nonlocal n_looks
        n_looks += 1
        shot = look(reader, queue.parent)
        loop.call_soon_threadsafe(under_way.set)
        assert done.wait(30)
        return shot

    watch = web_stream.Watch(queue, take, lambda shot, rates: str(n_looks), 3600.0)
    first = asyncio.create_task(watch.look())
    await under_way.wait()
    watch.forget()
    done.set()
    assert ((await first).html, (await watch.look()).html, (await watch.look()).html) == ("1", "2", "2")
    await watch.close(None)


async def test_a_stream_says_that_the_queue_is_gone_and_goes_on_when_it_is_back(queue):
    await fill(queue, FILES)
    async with serving(queue) as page, page.get("/events") as answer:
        (event,) = await first_events(answer, 1)
        there = queue.rename(queue.with_name("away"))
        while "there is no queue" not in event:
            (event,) = await first_events(answer, 1)
        there.rename(queue)
        while "data/swe" not in event:
            (event,) = await first_events(answer, 1)


async def test_a_stream_has_no_head_that_could_be_asked_for_alone(queue):
    """It would be sent for ever to somebody who wants none of it."""
    await fill(queue, FILES)
    async with serving(queue) as page, page.session.head(page.url + "/events") as answer:
        assert answer.status == 405


async def test_more_streams_than_it_can_hold_are_refused(queue, monkeypatch):
    monkeypatch.setattr(web_stream, "MAX_STREAMS", 1)
    await fill(queue, FILES)
    async with serving(queue) as page:
        async with page.get("/events") as one:
            await first_events(one, 1)
            async with page.get("/events") as two:
                assert two.status == 503
        while True:
            async with page.get("/events") as again:
                if again.status == 200:
                    break


async def test_the_end_of_the_server_ends_its_streams(queue):
    await fill(queue, FILES)
    async with serving(queue) as page:
        answer = await page.get("/events")
        await first_events(answer, 1)
        await page.app.shutdown()
        while await answer.content.readline():
            pass
