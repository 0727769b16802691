"""The line that Claude Code changes with each request stays out of the prompt, and nothing else does."""

from typing import Any

import pytest

from pomona.core.settings import AnthropicSettings, Settings
from pomona.server.anthropic.attribution import without_attribution
from tests.api.anthropic.clients import HELLO, post, turns_of
from tests.api.gateway import Gateway, running, settings_with

LINE = "x-anthropic-billing-header: cc_version=2.1.197.4af; cc_entrypoint=cli; cch=1f2e3;"
BODY: dict[str, Any] = {"type": "text", "text": "You are a coding agent."}


@pytest.mark.parametrize(
    "system",
    [
        [{"type": "text", "text": LINE}, BODY],
        [{"type": "text", "text": f"{LINE}\n"}, BODY],
        [{"type": "text", "text": f"{LINE}\n{LINE}\nYou are a coding agent."}],
        f"{LINE}\nYou are a coding agent.",
    ],
)
def test_the_line_is_left_out_and_that_is_told(gateway: Gateway, system: Any) -> None:
    response = post(gateway, system=system)
    first = turns_of(gateway.generator.seen[-1])[0]
    assert (first.role, first.text) == ("system", "You are a coding agent.")
    assert response.headers["x-pomona-removed"] == "attribution"
    streamed = post(gateway, system=system, stream=True)
    assert streamed.headers["x-pomona-removed"] == "attribution"


@pytest.mark.parametrize(
    "system",
    [
        [BODY, {"type": "text", "text": LINE}],
        [{"type": "text", "text": f"Look: {LINE}"}, BODY],
        [{"type": "text", "text": f"\n{LINE}"}, BODY],
        f"One.\n{LINE}",
        "X-Anthropic-Billing-Header: upper case is not what Claude Code sends",
        "x-anthropic-billing: other",
    ],
)
def test_anywhere_else_it_stays(gateway: Gateway, system: Any) -> None:
    response = post(gateway, system=system)
    texts = system if isinstance(system, str) else "".join(each["text"] for each in system)
    assert turns_of(gateway.generator.seen[-1])[0].text.replace("\n", "") == texts.replace("\n", "")
    assert "x-pomona-removed" not in response.headers


def test_messages_keep_it(gateway: Gateway) -> None:
    post(gateway, messages=[{"role": "user", "content": LINE}, {"role": "system", "content": LINE}])
    assert [each.text for each in turns_of(gateway.generator.seen[-1])] == [LINE, LINE]


def test_a_prompt_of_nothing_else_is_no_system_prompt(gateway: Gateway) -> None:
    post(gateway, system=LINE)
    assert [each.role for each in turns_of(gateway.generator.seen[-1])] == ["user"]


def test_what_rotates_does_not_change_the_prompt(gateway: Gateway) -> None:
    prompts: set[str] = set()
    for number in range(3):
        post(gateway, system=[{"type": "text", "text": LINE.replace("1f2e3", f"{number:05}")}, BODY])
        prompts.add(repr(turns_of(gateway.generator.seen[-1])))
    assert len(prompts) == 1


def test_a_setting_keeps_it() -> None:
    plain = settings_with()
    settings = Settings(server=plain.server, fleet=plain.fleet, anthropic=AnthropicSettings(strip_attribution=False))
    with running(Gateway(settings=settings)) as gateway:
        response = post(gateway, dict(HELLO), system=[{"type": "text", "text": LINE}, BODY])
        assert turns_of(gateway.generator.seen[-1])[0].text == f"{LINE}\nYou are a coding agent."
        assert "x-pomona-removed" not in response.headers


def test_a_long_prompt_without_it_is_not_searched() -> None:
    text = "x-anthropic-billing-heade" * 100_000
    assert without_attribution(text) == (text, False)
