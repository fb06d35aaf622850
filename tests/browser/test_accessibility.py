"""axe-core on each view, in both schemes, on a desk and on a phone."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.browser_page import DESK, PHONE, opened, submit_chat
from tests.browser.test_decision import decide, verify
from tests.service_process import ServiceProcess

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
LONG_WORD = "x" * 300


def chat(page: Page) -> None:
    page.get_by_label("Tokens at most").fill("16")
    submit_chat(page, LONG_WORD)
    page.locator("#chat-exchange summary").click()


def decision(page: Page) -> None:
    page.get_by_role("link", name="Decision and proof").click()
    decide(page)
    verify(page)
    page.get_by_text("Calldata, word by word").click()


def load(page: Page) -> None:
    page.get_by_role("link", name="Live load").click()
    expect(page.locator("figure .now").first).to_have_text("0")


def api(page: Page) -> None:
    page.get_by_role("link", name="API").click()
    page.locator("summary", has_text="POST /service_output ").click()
    page.locator("#types summary").first.click()


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", [chat, decision, load, api])
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_screen(
    browser: Browser, deciding: ServiceProcess, view: Any, scheme: str, viewport: dict[str, int]
) -> None:
    with opened(
        browser, deciding.url, color_scheme=scheme, viewport=viewport, reduced_motion="reduce"
    ) as page:
        expect(page.locator("#model")).not_to_be_empty()  # its coming moves what is to be clicked
        view(page)
        page.evaluate(AXE.read_text())
        found = page.evaluate("async () => (await axe.run()).violations")

        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, background[4:-1].split(","))) < 300) is (scheme == "dark")


def test_nothing_moves_where_less_motion_is_wanted(browser: Browser, echoing: ServiceProcess) -> None:
    moving = """() => {
        document.querySelector("#log").innerText = "";
        const item = document.createElement("div");
        item.className = "bot streaming";
        item.append(Object.assign(document.createElement("p"), { className: "text" }));
        document.querySelector("#log").append(item);
        return getComputedStyle(item.firstChild, "::after").animationName;
    }"""
    for preference, animation in (("reduce", "none"), ("no-preference", "blink")):
        with opened(browser, echoing.url, reduced_motion=preference) as page:
            assert page.evaluate(moving) == animation
