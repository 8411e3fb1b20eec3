"""The API reference at /docs, used in a real browser as a developer uses it: authorize, try it out, read."""

import json
import re

import pytest

from local.stack import ROOT, Stack
from local.tokens import mint
from tests.support.browser import Browser

ASSETS = ROOT / "node_modules" / "swagger-ui-dist"

pytestmark = pytest.mark.skipif(not ASSETS.exists(), reason="needs the packages of npm")


def test_a_developer_authorizes_and_tries_the_api_out_offline(stack: Stack, browser: Browser) -> None:
    token = mint(stack.token_secret, 77, 600, stack.environment)
    browser.open(f"{stack.url}/docs")
    browser.wait_for("document.querySelectorAll('.opblock').length > 20")

    browser.evaluate("document.querySelector('button.authorize').click()")
    fill(browser, ".modal-ux input", token)
    browser.evaluate("document.querySelector('.modal-ux button[type=submit]').click()")
    browser.wait_for("document.querySelector('.modal-ux').innerText.includes('Logout')")
    browser.evaluate("document.querySelector('.modal-ux .btn-done').click()")

    assert (
        try_out(browser, "create_session", json.dumps({"class_id": 1, "title": "From the reference"}))
        == "201"
    )
    assert try_out(browser, "list_sessions") == "200"
    shown = browser.evaluate("document.querySelector('[id$=-list_sessions] .live-responses-table').innerText")
    assert "From the reference" in shown

    session_id = re.search(r'"session_id": (\d+)', shown)
    assert session_id
    assert change(browser, "update_session", "session_id", session_id[1]) == "200"
    changed = browser.evaluate(
        "document.querySelector('[id$=-update_session] .live-responses-table').innerText"
    )
    assert '"title": "<string>"' in changed

    asked = browser.evaluate(
        "performance.getEntriesByType('resource').map(entry => new URL(entry.name).origin)"
    )
    assert set(asked) <= {stack.url, "null"}


def try_out(browser: Browser, operation: str, body: str | None = None) -> str:
    """The status of the answer."""
    block = f"[id$=-{operation}]"
    browser.evaluate(f"document.querySelector('{block} .opblock-summary-control').click()")
    browser.wait_for(f"document.querySelector('{block} .execute') !== null")
    if body is not None:
        fill(browser, f"{block} .body-param textarea", body)
    browser.evaluate(f"document.querySelector('{block} .execute').click()")
    status = f"document.querySelector('{block} .live-responses-table tbody .response-col_status')"
    browser.wait_for(f"{status} !== null")
    return str(browser.evaluate(f"{status}.innerText")).split()[0]


def change(browser: Browser, operation: str, parameter: str, value: str) -> str:
    """Sends the example of the reference unchanged; the status of the answer."""
    block = f"[id$=-{operation}]"
    browser.evaluate(f"document.querySelector('{block} .opblock-summary-control').click()")
    fill(browser, f"{block} input[placeholder={parameter}]", value)
    # The reference takes what is typed after a moment, and executes nothing before.
    status = f"document.querySelector('{block} .live-responses-table tbody .response-col_status')"
    browser.wait_for(f"(document.querySelector('{block} .execute').click(), {status} !== null)")
    return str(browser.evaluate(f"{status}.innerText")).split()[0]


def fill(browser: Browser, selector: str, text: str) -> None:
    """Types into a field, as soon as it is there, in a way that React notices."""
    browser.wait_for(f"document.querySelector({json.dumps(selector)}) !== null")
    browser.evaluate(f"""(() => {{
        const field = document.querySelector({json.dumps(selector)});
        const own = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), 'value');
        own.set.call(field, {json.dumps(text)});
        field.dispatchEvent(new Event('input', {{bubbles: true}}));
        field.dispatchEvent(new Event('change', {{bubbles: true}}));
    }})()""")
