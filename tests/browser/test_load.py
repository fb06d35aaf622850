"""Live load: plots that move with the service."""

import threading

import httpx2
from playwright.sync_api import Browser, expect

from tests.browser.browser_page import opened
from tests.service_process import ServiceProcess

ASKED = {
    "messages": [{"role": "user", "content": "Tell a long story."}],
    "max_tokens": 300,
    "ignore_eos": True,
}


def test_the_plots_move_under_load(browser: Browser, deciding: ServiceProcess) -> None:
    def ask() -> None:
        httpx2.post(f"{deciding.url}/v1/chat/completions", json=ASKED, timeout=120).raise_for_status()

    with opened(browser, f"{deciding.url}/#load") as page:
        running = page.locator("figure", has_text="Requests running")
        tokens = page.locator("figure", has_text="Tokens a second")
        expect(running.locator(".now")).to_have_text("0")
        callers = [threading.Thread(target=ask) for _ in range(3)]
        for caller in callers:
            caller.start()
        expect(running.locator(".now")).to_have_text("3")
        expect(running.get_by_role("img")).to_have_attribute(
            "aria-label", "Requests running: now 3, at most 3"
        )
        expect(tokens.locator(".now")).not_to_have_text("0")
        for caller in callers:
            caller.join()
        expect(running.locator(".now")).to_have_text("0")
        expect(running.locator(".top")).to_have_text("at most 3")
        first = page.locator("figure", has_text="Time to first token")
        expect(first.locator(".now")).to_contain_text(" ms")
        assert running.locator(".line").get_attribute("d").count("L") > 2


def test_what_a_backend_does_not_tell_is_said(browser: Browser, echoing: ServiceProcess) -> None:
    with opened(browser, f"{echoing.url}/#load") as page:
        waiting = page.locator("figure", has_text="Requests waiting")
        expect(waiting.locator(".now")).to_have_text("not told by this backend")


def test_nothing_is_asked_of_a_view_that_is_not_shown(browser: Browser, echoing: ServiceProcess) -> None:
    asked: list[str] = []
    with opened(browser, f"{echoing.url}/#load") as page:
        page.on("request", lambda request: asked.append(request.url))
        with page.expect_request("**/metrics"):
            pass
        page.get_by_role("link", name="Chat").click()
        asked.clear()
        page.wait_for_timeout(2500)

    assert [url for url in asked if url.endswith("/metrics")] == []
