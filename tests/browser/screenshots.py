"""Takes the pictures of the documents: ``make screenshots``, with the example served at the given address."""

import sys
import threading
from pathlib import Path

import httpx2
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.browser_page import PHONE, launched, opened, submit_chat
from tests.browser.test_decision import decide, verify

IMAGES = Path(__file__).parents[2] / "docs" / "images"
WINDOW = {"width": 960, "height": 1180}
STORY = {"messages": [{"role": "user", "content": "Tell a story."}], "max_tokens": 250, "ignore_eos": True}


def saved(page: Page, name: str) -> None:
    """Write a picture of the window."""
    page.screenshot(path=IMAGES / f"{name}.png")


def chat(browser: Browser, url: str) -> None:
    """Two turns, and the wire below."""
    with opened(browser, url, viewport=WINDOW) as page:
        submit_chat(page, "Name three colours.")
        submit_chat(page, "And one more?")
        page.locator("#chat-exchange summary").click()
        page.evaluate("scrollTo(0, 0)")
        saved(page, "page-chat")


def decision(browser: Browser, url: str) -> None:
    """A proof that was verified."""
    with opened(browser, f"{url}/#decision", viewport={"width": 960, "height": 1390}) as page:
        page.locator("#decision-workflow option").first.wait_for(state="attached")
        decide(page)
        verify(page)
        page.evaluate("scrollTo(0, 0)")
        saved(page, "page-decision")


def load(browser: Browser, url: str) -> None:
    """Several callers at once, in the dark."""
    with opened(browser, f"{url}/#load", viewport={"width": 960, "height": 560}, color_scheme="dark") as page:
        for num_callers in (1, 4, 2):
            callers = [threading.Thread(target=ask, args=(url,)) for _ in range(num_callers)]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join()
        expect(page.locator("figure", has_text="Time to first token").locator(".now")).to_contain_text("ms")
        saved(page, "page-load")


def phone(browser: Browser, url: str) -> None:
    """The chat on a phone."""
    with opened(browser, url, viewport=PHONE, color_scheme="dark") as page:
        submit_chat(page, "Name three colours.")
        saved(page, "page-phone")


def ask(url: str) -> None:
    """Keep the service busy."""
    httpx2.post(f"{url}/v1/chat/completions", json=STORY, timeout=300).raise_for_status()


def main(url: str) -> None:
    """Take all pictures."""
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = launched(playwright)
        for picture in (chat, decision, load, phone):
            picture(browser, url)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
