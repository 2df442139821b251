"""The page in a real Chromium: it follows the queue, its buttons act, nothing breaks its rules, everybody can use it.

Needs Debian's chromium and playwright's Python package; playwright's own browsers are not used.
"""

from __future__ import annotations

import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from tests.support.web_page import TOKEN, fill, serving
from tests.unit.status.test_snapshot import enqueue, writing

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.asyncio(loop_scope="module"),
]

AXE = (Path(__file__).parents[1] / "support" / "axe" / "axe.min.js").read_text(encoding="utf-8")
FILES = {f"data/swe/{n:03}": 10 for n in range(60)} | {"data/deu/a": 7}
BUSY = [("http_5xx", "busy")] * 2
DATASET = urlencode({"dataset": "org/name", "revision": "a" * 40, "subset": "data/swe"})
PAGES = [
    "/",
    "/datasets",
    f"/dataset?{DATASET}",
    "/errors?kind=download&error_class=http_5xx",
    "/job/1",
    f"/cancel?{DATASET}",
]
EYES = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "narrow": {"color_scheme": "light", "viewport": {"width": 360, "height": 740}},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium():
    async with playwright.async_playwright() as started:
        rebound = "--host-resolver-rules=MAP evil.test 127.0.0.1"  # as DNS rebinding would have it
        browser = await started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", rebound]
        )
        yield browser
        await browser.close()


@dataclass
class Tab:
    """A tab and whatever went wrong in it."""

    page: object
    wrong: list = field(default_factory=list)


@asynccontextmanager
async def tab(chromium, **options):
    """Open a tab; at the end nothing may have gone wrong in it."""
    context = await chromium.new_context(**options)
    opened = Tab(await context.new_page())
    opened.page.set_default_timeout(20_000)
    opened.page.on(
        "console", lambda said: opened.wrong.append(said.text) if said.type in ("error", "warning") else None
    )
    opened.page.on("pageerror", lambda error: opened.wrong.append(str(error)))
    opened.page.on("dialog", lambda dialog: opened.wrong.append(dialog.message))
    await opened.page.expose_function("broken", lambda what: opened.wrong.append(what))
    await opened.page.add_init_script(
        "document.addEventListener('securitypolicyviolation', e => broken(e.violatedDirective + ' ' + e.blockedURI))"
    )
    try:
        yield opened
        assert opened.wrong == []
    finally:
        await context.close()


@pytest.fixture
def queue(tmp_path):
    return tmp_path / "queue.sqlite"


async def test_the_page_follows_the_queue_and_keeps_the_focus_where_it_was(chromium, queue):
    await fill(queue, FILES, fail=BUSY)
    async with serving(queue, every_s=0.2) as site, tab(chromium) as seen:
        await seen.page.goto(site.url)
        button = seen.page.get_by_role("button", name="retry download http_5xx")
        await button.focus()
        await button.evaluate("button => window.before = button")
        async with writing(queue) as writer:
            await enqueue(writer, {"data/new_Latn/a": 5})
        await seen.page.get_by_role("link", name="data/new_Latn").wait_for()
        assert await seen.page.evaluate("document.activeElement === window.before && window.before.isConnected")
        assert "0/62 files" in await seen.page.title()


async def test_retry_pause_and_cancel_reach_the_action_by_mouse_and_by_keyboard(chromium, queue):
    await fill(queue, FILES, fail=BUSY)
    async with serving(queue, every_s=0.2) as site, tab(chromium) as seen:
        await seen.page.goto(site.url)
        await seen.page.get_by_role("button", name="retry download http_5xx").click()
        await seen.page.get_by_text("retry was done to 3 <i>jobs</i>").wait_for()
        await seen.page.get_by_role("button", name="pause download").press("Enter")
        await seen.page.get_by_text("pause was done").wait_for()
        await seen.page.get_by_role("link", name="data/swe").click()
        await seen.page.get_by_role("link", name="cancel this subset").click()
        await seen.page.get_by_text("unfinished jobs").wait_for()
        await seen.page.get_by_role("button", name="cancel it").click()
        await seen.page.get_by_text("cancel was done").wait_for()
        assert site.recorded.calls == [
            ("retry", {"kind": "download", "error_class": "http_5xx"}),
            ("pause", {"kind": "download"}),
            ("cancel", {"dataset": "org/name", "revision": "a" * 40, "subset": "data/swe"}),
        ]


async def test_without_scripts_it_is_read_and_acted_upon_all_the_same(chromium, queue):
    await fill(queue, FILES, fail=BUSY)
    async with serving(queue) as site:
        context = await chromium.new_context(java_script_enabled=False)
        page = await context.new_page()
        await page.goto(site.url)
        await page.get_by_role("button", name="retry download http_5xx").click()
        await page.get_by_text("retry was done").wait_for()
        await context.close()
        assert len(site.recorded.calls) == 1


async def test_names_that_are_markup_are_only_text_in_what_the_stream_brings_too(chromium, queue):
    evil = "<img src=x onerror=alert(1)>"
    await fill(queue, {"data/swe/a": 1}, fail=[("http_5xx", evil)])
    async with serving(queue, every_s=0.2) as site, tab(chromium) as seen:
        await seen.page.goto(site.url)
        async with writing(queue) as writer:
            await enqueue(writer, {f"x{evil}/a": 5})
        await seen.page.get_by_role("link", name=f"x{evil}").click()
        await seen.page.get_by_role("heading", name=f"x{evil}").wait_for()
        assert await seen.page.locator("img, iframe, object, embed").count() == 0


async def test_a_hidden_tab_lets_its_connection_go_and_a_shown_one_takes_it_up(chromium, queue):
    await fill(queue, FILES)
    async with serving(queue, every_s=0.2) as site, tab(chromium) as seen:
        await seen.page.goto(site.url)
        await seen.page.evaluate("window.sources = []; const make = htmx.createEventSource;"
                                 "htmx.createEventSource = url => { const it = make(url); sources.push(it); return it }; null")  # fmt: skip
        turn = (
            "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
            " document.dispatchEvent(new Event('visibilitychange')) }"
        )
        for _ in range(2):
            await seen.page.evaluate(turn, True)
            await seen.page.evaluate(turn, False)
        assert await seen.page.evaluate("sources.map(one => one.readyState === EventSource.CLOSED)") == [True, False]
        async with writing(queue) as writer:
            await enqueue(writer, {"data/new_Latn/a": 5})
        await seen.page.get_by_role("link", name="data/new_Latn").wait_for()


async def test_a_page_whose_server_is_gone_says_how_old_its_figures_are(chromium, queue):
    await fill(queue, FILES)
    async with tab(chromium) as seen:
        async with serving(queue, every_s=0.2) as site:
            await seen.page.goto(site.url)
            await seen.page.locator("#overview h1").wait_for()
        await seen.page.get_by_text("no connection; figures of 2").wait_for()
        seen.wrong.clear()  # a browser says that it cannot reach the server


async def test_a_browser_without_the_token_sees_nothing_and_with_it_loses_it_from_the_address(chromium, queue):
    await fill(queue, FILES)
    async with serving(queue, listen="0.0.0.0:1", token=TOKEN, every_s=0.2) as site, tab(chromium) as seen:
        await seen.page.goto(site.url)
        await seen.page.get_by_role("heading", name="A token is needed").wait_for()
        seen.wrong.clear()  # a browser calls the answer 401 an error
        await seen.page.goto(f"{site.url}/?token={TOKEN}")
        assert seen.page.url == f"{site.url}/"
        async with writing(queue) as writer:
            await enqueue(writer, {"data/new_Latn/a": 5})
        await seen.page.get_by_role("link", name="data/new_Latn").wait_for()
        await seen.page.get_by_role("button", name="pause download").click()
        await seen.page.get_by_text("pause was done").wait_for()
        assert await seen.page.evaluate("document.cookie") == ""


async def test_a_name_that_was_bent_to_this_machine_gets_nothing(chromium, queue):
    await fill(queue, FILES, fail=BUSY)
    async with serving(queue) as site, tab(chromium) as seen:
        answer = await seen.page.goto(site.url.replace("127.0.0.1", "evil.test"))
        assert answer.status == 421
        assert "org/name" not in await seen.page.content()
        seen.wrong.clear()  # Chromium says on the console that a page was refused


async def test_an_action_without_its_csrf_token_is_refused_and_does_nothing(chromium, queue):
    await fill(queue, FILES, fail=BUSY)
    async with serving(queue) as site, tab(chromium) as seen:
        await seen.page.goto(site.url)
        posted = (
            "async () => (await fetch('/do/retry', {method: 'POST', body: new URLSearchParams({csrf: ''})})).status"
        )
        assert await seen.page.evaluate(posted) == 403
        assert site.recorded.calls == []
        seen.wrong.clear()


@pytest.mark.parametrize("eyes", sorted(EYES))
async def test_axe_finds_nothing_serious_on_any_page(chromium, queue, eyes):
    await fill(queue, FILES, fail=BUSY)
    async with serving(queue, every_s=3600) as site, tab(chromium, **EYES[eyes]) as seen:
        for path in PAGES:
            await seen.page.goto(site.url + path)
            await seen.page.evaluate(AXE)
            found = await seen.page.evaluate("axe.run()")
            assert [
                (path, rule["id"], rule["impact"], [node["target"] for node in rule["nodes"]])
                for rule in found["violations"]
                if rule["impact"] in ("serious", "critical", "moderate")
            ] == []
            assert len(found["passes"]) > 15
            assert await seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is too wide"


async def test_everything_is_reached_with_the_tab_key(chromium, queue):
    await fill(queue, FILES, fail=BUSY)
    async with serving(queue, every_s=3600) as site, tab(chromium) as seen:
        await seen.page.goto(site.url)
        reached = []
        for _ in range(30):
            await seen.page.keyboard.press("Tab")
            reached.append(
                await seen.page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.innerText")
            )
        assert reached[0] == "skip to the content"
        assert {"overview", "datasets", "pause download", "retry download http_5xx"} <= set(reached)
