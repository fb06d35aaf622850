"""A decision with its proof: shown decoded, checked, and refused when it is not what was proved."""

import json
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.browser_page import opened
from tests.service_process import ServiceProcess

MESSAGE = "Please buy my key, I promise to make you laugh."
VERDICT = "#verdict .verdict"


def decide(page: Page) -> None:
    page.get_by_role("textbox", name="Message").fill(MESSAGE)
    page.get_by_role("button", name="Ask").click()
    page.get_by_role("heading", name="Proof", exact=True).wait_for()


def verify(page: Page) -> Any:
    page.get_by_role("button", name="Verify this calldata").click()
    page.locator(VERDICT).wait_for()
    return page.locator(VERDICT)


def test_a_decision_is_proved_and_the_proof_verified(browser: Browser, deciding: ServiceProcess) -> None:
    with opened(browser, f"{deciding.url}/#decision") as page:
        expect(page.locator("#decision-workflow option")).to_have_text(
            ["agent_decision", "vector", "default"]
        )
        decide(page)

        expect(page.locator("#decision-reply")).to_contain_text("buy")
        instances = page.get_by_role("region", name="Instances")
        expect(instances).to_contain_text("Poseidon hash of the input")
        page.get_by_text("Calldata, word by word").click()
        words = page.get_by_role("region", name="Calldata, word by word")
        expect(words).to_contain_text("selector of verifyProof(bytes,uint256[])")
        expect(words).to_contain_text("number of instances: 2")
        for felt in instances.locator("code").all_inner_texts():
            expect(words).to_contain_text(felt)
        expect(page.locator(".statements")).to_contain_text("Where the input came from")

        expect(verify(page)).to_have_text("Verified: the proof holds.")
        expect(page.locator("#verdict")).to_contain_text("Its output 1 is the reply's action: buy.")
        expect(page.locator("#verdict")).to_contain_text("can forge such proofs")


@pytest.mark.parametrize("position", [400, -1], ids=["proof", "instance"])
def test_a_tampered_proof_is_refused(browser: Browser, deciding: ServiceProcess, position: int) -> None:
    with opened(browser, f"{deciding.url}/#decision") as page:
        decide(page)
        calldata = page.get_by_label("Calldata of verifyProof")
        digits = list(calldata.input_value())
        digits[position] = "0" if digits[position] != "0" else "2"
        calldata.fill("".join(digits))

        expect(verify(page)).to_contain_text("Refused")


def test_calldata_that_is_none_is_an_error(browser: Browser, deciding: ServiceProcess) -> None:
    with opened(browser, f"{deciding.url}/#decision") as page:
        decide(page)
        page.get_by_label("Calldata of verifyProof").fill("0x1234567890")
        page.get_by_role("button", name="Verify this calldata").click()

        expect(page.locator("#verdict .error")).to_contain_text("400 Bad Request: calldata:")


def test_a_reply_that_says_other_than_its_proof_is_found_out(
    browser: Browser, deciding: ServiceProcess
) -> None:
    def lie(route: Any) -> None:
        response = route.fetch()
        route.fulfill(response=response, json={**response.json(), "action": "sell"})

    with opened(browser, f"{deciding.url}/#decision") as page:
        page.route("**/agent_decision/service_output", lie)
        decide(page)

        expect(verify(page)).to_contain_text("Verified")
        expect(page.locator("#verdict .bad").first).to_have_text(
            "Its output 1 is not the reply's action, sell."
        )


def test_a_workflow_of_other_data_takes_json(browser: Browser, deciding: ServiceProcess) -> None:
    with opened(browser, f"{deciding.url}/#decision") as page:
        page.get_by_label("Workflow").select_option("vector")
        data = page.get_by_label("Data (VectorRequest), as JSON")
        data.fill("{")
        page.get_by_role("button", name="Ask").click()
        expect(page.get_by_role("alert")).to_have_text("The data is not JSON.")
        data.fill(json.dumps({"inputs": [1]}))
        page.get_by_role("button", name="Ask").click()
        expect(page.get_by_role("alert")).to_contain_text("data.inputs: the circuit takes 16 numbers")
        data.fill(json.dumps({"inputs": [0.5] * 16}))
        page.get_by_role("button", name="Ask").click()
        page.get_by_role("heading", name="Proof", exact=True).wait_for()

        expect(verify(page)).to_have_text("Verified: the proof holds.")


def test_without_a_proof_there_is_none(browser: Browser, deciding: ServiceProcess) -> None:
    with opened(browser, f"{deciding.url}/#decision") as page:
        page.get_by_label("with a proof").uncheck()
        page.get_by_role("textbox", name="Message").fill(MESSAGE)
        page.get_by_role("button", name="Ask").click()

        expect(page.locator("#decision-reply")).to_contain_text("rationale")
        expect(page.locator("#proof")).to_be_empty()
