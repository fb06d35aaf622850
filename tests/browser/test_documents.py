"""What is served: policy, caching, the API's description, and the page that is switched off."""

import subprocess

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.browser_page import opened
from tests.service_process import ServiceProcess


def test_the_description_shows_every_path_and_its_example_runs(
    browser: Browser, echoing: ServiceProcess
) -> None:
    document = httpx2.get(f"{echoing.url}/openapi.json").json()
    with opened(browser, f"{echoing.url}/docs") as page:
        operations = page.locator("#operations details")
        expect(operations).to_have_count(sum(len(methods) for methods in document["paths"].values()))
        page.locator("summary", has_text="POST /service_output ").click()
        body = page.locator("#operations details[open] p", has_text="InfernetInput")
        expect(body).to_have_text("InfernetInput, and unless source is 0, data is LLMRequest")
        page.get_by_role("link", name="InfernetInput").first.click()
        expect(page.locator("#InfernetInput")).to_contain_text("0: on chain, 1: off chain")
        page.get_by_role("button", name="Copy as curl").first.click()
        expect(page.get_by_text("copied", exact=True)).to_be_visible()
        command = page.evaluate("navigator.clipboard.readText()")

    done = subprocess.run(["bash", "-c", f"{command} --silent"], capture_output=True, text=True, check=True)
    assert done.stdout == '"Name three colours."'


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_nothing_comes_from_elsewhere_and_injected_code_does_not_run(
    browser: Browser, echoing: ServiceProcess, path: str
) -> None:
    asked: list[str] = []
    context = browser.new_context()
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{echoing.url}{path}")
    page.wait_for_load_state("networkidle")
    inject = """() => {
        const script = document.createElement("script");
        try { script.text = "window.owned = true"; } catch (error) { return error.name; }
        document.body.append(script);
        return window.owned === true ? "owned" : "refused";
    }"""
    assert page.evaluate(inject) == "TypeError"  # trusted types
    assert all(url.startswith(echoing.url) for url in asked)
    context.close()
