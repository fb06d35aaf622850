"""The chat: streams, history, stopping, errors, and what is shown of the wire."""

import json
import re
import subprocess
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.browser_page import opened, send_chat, submit_chat
from tests.service_process import ServiceProcess, service

LONG = " ".join(f"word{number}" for number in range(400))
HOSTILE = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script><b>bold</b>'
NOT_READY = {"code": "503", "name": "Service Unavailable", "description": "the model is loading"}
TOKEN = "a-token-of-the-page"


def last_answer(page: Page) -> Any:
    return page.locator("#log .bot .text").last


@pytest.mark.parametrize("target", ["/service_output", "/v1/chat/completions"])
def test_an_answer_comes_word_by_word_and_the_history_goes_along(
    browser: Browser, echoing: ServiceProcess, target: str
) -> None:
    first = " ".join(f"word{number}" for number in range(40))
    with opened(browser, echoing.url) as page:
        index = page.locator("#chat-workflow option", has_text=target).get_attribute("value")
        page.get_by_label("Ask").select_option(index)
        send_chat(page, first)
        expect(last_answer(page)).to_have_text(re.compile("^word0( word[0-9]+){0,35}$"))
        expect(last_answer(page)).to_have_text(first)

        with page.expect_request(f"**{target}") as asked:
            submit_chat(page, "and then")

        expect(last_answer(page)).to_have_text("and then")
        body = json.loads(asked.value.post_data or "")
        if target == "/service_output":
            assert body["destination"] == 2
            assert body["data"]["history"] == [{"player": first}, {"bot": first}]
        else:
            assert [message["content"] for message in body["messages"]] == [first, first, "and then"]
        page.get_by_role("button", name="New conversation").click()
        expect(page.locator("#log > div")).to_have_count(0)
        with page.expect_request(f"**{target}") as asked:
            submit_chat(page, "again")
        assert first not in (asked.value.post_data or "")


def test_stopping_ends_the_answer_and_the_work(browser: Browser, echoing: ServiceProcess) -> None:
    with opened(browser, echoing.url) as page:
        send_chat(page, LONG)
        expect(last_answer(page)).to_contain_text("word3 ")
        page.get_by_role("button", name="Stop").click()

        expect(page.locator("#log .bot").last).to_contain_text("stopped")
        kept = last_answer(page).inner_text()
        assert len(kept) < len(LONG)
        expect(page.get_by_role("button", name="Send")).to_be_enabled()
        submit_chat(page, "hello")
        expect(last_answer(page)).to_have_text("hello")
    aborted = 'llm:request_success_total{finished_reason="abort",model_name="scripted"}'
    assert aborted in httpx2.get(f"{echoing.url}/metrics").text


def test_the_wire_is_shown_and_the_copied_curl_runs(browser: Browser, echoing: ServiceProcess) -> None:
    text = 'it\'s "quoted" $HOME `x` \\ ünïcode'
    with opened(browser, echoing.url) as page:
        submit_chat(page, text)
        page.locator("#chat-exchange summary").click()
        expect(page.get_by_role("region", name="Request", exact=True)).to_contain_text('"destination": 2')
        reply = page.get_by_role("region", name="Reply", exact=True)
        expect(reply).to_contain_text("200")
        expect(reply).to_contain_text("x-model-id: scripted")
        page.get_by_role("button", name="Copy as curl").click()
        expect(page.get_by_text("copied", exact=True)).to_be_visible()
        command = page.evaluate("navigator.clipboard.readText()")

    done = subprocess.run(["bash", "-c", f"{command} --silent"], capture_output=True, text=True, check=True)
    assert done.stdout == text


def test_a_hostile_answer_is_text(browser: Browser) -> None:
    with (
        service(LLM_BACKEND="scripted", LLM_SCRIPTED_REPLY=HOSTILE) as running,
        opened(browser, running.url) as page,
    ):
        submit_chat(page, HOSTILE)
        expect(last_answer(page)).to_have_text(HOSTILE)
        page.get_by_role("link", name="Decision and proof").click()
        page.get_by_role("textbox", name="Message").fill(HOSTILE)
        page.get_by_role("button", name="Ask").click()
        expect(page.locator("#decision-reply dd")).to_have_text(HOSTILE)

        assert page.title() == "LLM Inference Service"
        assert page.locator("main img, main script, main b").count() == 0


def test_too_much_work_is_said_and_the_message_is_not_lost(browser: Browser) -> None:
    with (
        service(
            LLM_BACKEND="scripted", LLM_SCRIPTED_DELAY_S="0.1", LLM_MAX_CONCURRENT_REQUESTS="1"
        ) as running,
        opened(browser, running.url) as page,
    ):
        body = {"source": 1, "destination": 2, "data": LONG}
        with httpx2.stream("POST", f"{running.url}/service_output", json=body, timeout=60):
            submit_chat(page, "please")
            expect(page.get_by_role("alert").last).to_contain_text("503 Service Unavailable")
            expect(page.get_by_role("alert").last).to_contain_text("Try again in")
        expect(page.get_by_role("textbox", name="Message")).to_have_value("please")


def test_a_token_is_asked_for_and_kept_in_the_tab_alone(browser: Browser) -> None:
    with (
        service(LLM_BACKEND="scripted", LLM_AUTH_TOKENS=TOKEN) as running,
        opened(browser, running.url) as page,
    ):
        expect(page.locator("#service-error")).to_contain_text("401 Unauthorized")
        page.get_by_label("Bearer token").fill("wrong-token")
        page.get_by_role("button", name="Use").click()
        expect(page.locator("#service-error")).to_contain_text("401 Unauthorized")
        page.get_by_label("Bearer token").fill(TOKEN)
        page.get_by_label("Bearer token").press("Enter")
        expect(page.locator("#service-error")).to_be_hidden()
        submit_chat(page, "hello")
        expect(last_answer(page)).to_have_text("hello")

        page.locator("#chat-exchange summary").click()
        assert TOKEN not in page.locator("#chat-exchange").inner_text()
        page.get_by_role("button", name="Copy as curl").click()
        expect(page.get_by_text("copied", exact=True)).to_be_visible()
        command = page.evaluate("navigator.clipboard.readText()")
        assert TOKEN not in command
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        page.reload()
        submit_chat(page, "again")
        expect(last_answer(page)).to_have_text("again")
        page.get_by_role("button", name="Forget").click()
        expect(page.locator("#service-error")).to_contain_text("401 Unauthorized")
        assert page.evaluate("sessionStorage.length") == 0

        environment = {"PATH": "/usr/bin:/bin", "LLM_TOKEN": TOKEN}
        done = subprocess.run(
            ["bash", "-c", f"{command} --silent"], capture_output=True, text=True, check=True, env=environment
        )
        assert done.stdout == "hello"


def test_a_network_that_is_gone_is_said(browser: Browser, echoing: ServiceProcess) -> None:
    with opened(browser, echoing.url) as page:
        submit_chat(page, "hello")
        page.context.set_offline(True)
        submit_chat(page, "is anybody there")
        expect(page.get_by_role("alert").last).to_contain_text("cannot be reached")
        page.context.set_offline(False)
        submit_chat(page, "is anybody there now")
        expect(last_answer(page)).to_have_text("is anybody there now")


def test_a_page_that_comes_before_the_service_is_ready_waits_for_it(
    browser: Browser, echoing: ServiceProcess
) -> None:
    with opened(browser, f"{echoing.url}/docs") as page:
        page.route("**/health/ready", lambda route: route.fulfill(status=503, json=NOT_READY))
        page.goto(echoing.url)
        expect(page.locator("#service-error")).to_have_text("503 Service Unavailable: the model is loading.")
        expect(page.get_by_role("button", name="Send")).to_be_disabled()
        page.unroute("**/health/ready")
        submit_chat(page, "hello")
        expect(last_answer(page)).to_have_text("hello")
        expect(page.locator("#service-error")).to_be_hidden()


def test_a_service_that_dies_amid_an_answer_is_said(browser: Browser) -> None:
    with (
        service(LLM_BACKEND="scripted", LLM_SCRIPTED_DELAY_S="0.05") as running,
        opened(browser, running.url) as page,
    ):
        send_chat(page, LONG)
        expect(last_answer(page)).to_contain_text("word3 ")
        for pid in running.worker_pids:
            subprocess.run(["kill", "-KILL", str(pid)], check=True)
        expect(page.get_by_role("alert").last).to_contain_text("cannot be reached")
        expect(last_answer(page)).to_contain_text("word3 ")


def test_an_answer_that_breaks_off_says_why_below_what_there_is(browser: Browser) -> None:
    with (
        service(LLM_BACKEND="scripted", LLM_SCRIPTED_DELAY_S="0.1", LLM_REQUEST_TIMEOUT_S="1") as running,
        opened(browser, running.url) as page,
    ):
        for index in range(2):  # the workflow, then the model itself
            page.get_by_label("Ask").select_option(index=index)
            submit_chat(page, LONG)
            expect(page.get_by_role("alert").last).to_contain_text("broke off")
            expect(page.get_by_role("alert").last).to_contain_text("longer than 1 s")
            expect(last_answer(page)).to_contain_text("word3 ")
            expect(last_answer(page)).not_to_contain_text("broken off")


def test_everything_can_be_done_by_keyboard(browser: Browser, echoing: ServiceProcess) -> None:
    def focused(page: Page) -> str:
        return str(page.evaluate("document.activeElement.id || document.activeElement.textContent"))

    with opened(browser, echoing.url) as page:
        page.locator("#chat-workflow option").first.wait_for(state="attached")
        page.keyboard.press("Tab")
        assert focused(page) == "Skip to the content"
        page.keyboard.press("Enter")
        for _ in range(10):
            page.keyboard.press("Tab")
            if focused(page) == "message":
                break
        page.keyboard.type("first line")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type(LONG)
        page.keyboard.press("Enter")
        expect(last_answer(page)).to_contain_text("word3 ")
        page.keyboard.press("Escape")
        expect(page.locator("#log .bot").last).to_contain_text("stopped")
        expect(page.locator("#log .player .text")).to_contain_text("first line\nword0")

        page.get_by_role("link", name="Live load").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Live load")).to_be_focused()
        page.get_by_role("link", name="Decision and proof").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Decision and proof")).to_be_focused()


def test_a_second_message_waits_for_the_first(browser: Browser, echoing: ServiceProcess) -> None:
    with opened(browser, echoing.url) as page:
        send_chat(page, LONG)
        expect(last_answer(page)).to_contain_text("word1 ")
        send_chat(page, "too soon")
        expect(page.locator("#log .player")).to_have_count(1)
        page.keyboard.press("Escape")
        expect(page.get_by_role("textbox", name="Message")).to_have_value("too soon")


def test_parameters_go_along(browser: Browser, echoing: ServiceProcess) -> None:
    with opened(browser, echoing.url) as page:
        page.get_by_label("Tokens at most").fill("2")
        submit_chat(page, "one two three four")
        expect(last_answer(page)).to_have_text("one two ")
