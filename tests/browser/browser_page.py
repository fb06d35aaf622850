"""The page in a real Chromium."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, Playwright

QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 900}


def launched(playwright: Playwright) -> Browser:
    """Start the Chromium that ``CHROMIUM`` names, or the machine's own."""
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert executable, "there is no chromium: apt-get install chromium, or name one in CHROMIUM"
    # the sandbox wants a user that is not root, and pages that are not our own
    return playwright.chromium.launch(executable_path=executable, args=list(QUIET), chromium_sandbox=False)


@contextmanager
def opened(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """Open an address in a profile of its own; whatever breaks the page's policy or raises fails the test."""
    context: BrowserContext = browser.new_context(**{"viewport": DESK, **options})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.set_default_timeout(30_000)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if _is_fault(message) else None)
    try:
        page.goto(url)
        yield page
        assert faults == []
    finally:
        context.close()


def _is_fault(message: Any) -> bool:
    # a status of 400 or more is an error to the console, and may be what a test is about
    return message.type == "error" and not message.text.startswith("Failed to load resource")


def submit_chat(page: Page, text: str) -> None:
    """Send a message; returns when the answer is there."""
    send_chat(page, text)
    page.locator("#log[aria-busy=false]").wait_for()


def send_chat(page: Page, text: str) -> None:
    """Send a message by keyboard and do not wait."""
    page.locator("#chat-workflow option").first.wait_for(state="attached")
    page.get_by_role("textbox", name="Message").fill(text)
    page.get_by_role("textbox", name="Message").press("Enter")
