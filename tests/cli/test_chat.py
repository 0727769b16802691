"""`chat` where standard input is no terminal, against a server with a double behind it."""

import json
from pathlib import Path

import pytest

from pomona.cli.chat.conversation import DIALS, Conversation, read_dial, said
from pomona.cli.chat.reading import join_lines
from pomona.cli.chat.slash import COMMANDS, react
from pomona.core.errors import InvalidRequest, Overloaded
from tests.api.gateway import Gateway
from tests.cli.conftest import Pomona
from tests.doubles import answer


def talk() -> Conversation:
    return Conversation(model="m", turns=[said("user", "Hi"), said("assistant", "Hello")])


def turns(gateway: Gateway) -> list[list[tuple[str, str]]]:
    return [[(message.role, message.text) for message in request.messages or ()] for request in gateway.generator.seen]


def test_each_line_is_a_turn_and_history_grows(pomona: Pomona, gateway: Gateway) -> None:
    result = pomona("chat", "--url", gateway.urls.public, "-s", "Be kind.", stdin="Hi\n\nAnd you?\n")

    assert (result.exit_code, result.stdout) == (0, "Hello world\nHello world\n")
    assert turns(gateway) == [
        [("system", "Be kind."), ("user", "Hi")],
        [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello world"), ("user", "And you?")],
    ]


def test_a_backslash_goes_on_in_the_next_line(pomona: Pomona, gateway: Gateway) -> None:
    pomona("chat", "--url", gateway.urls.public, stdin="one\\\ntwo\nthree\\\n")

    assert [conversation[-1][1] for conversation in turns(gateway)] == ["one\ntwo", "three\\"]


def test_the_speed_is_on_standard_error(pomona: Pomona, gateway: Gateway) -> None:
    gateway.generator.reset(answer("a", "b", prompt_tokens=9, cached_tokens=4, reason="length"))

    told = pomona("chat", "--url", gateway.urls.public, stdin="Hi\n").stderr

    assert "2 tokens · " in told
    assert "4 of 9 prompt tokens from the cache" in told
    assert "cut at its longest" in told


def test_retry_asks_the_same_again_with_new_options(pomona: Pomona, gateway: Gateway) -> None:
    pomona("chat", "--url", gateway.urls.public, stdin="Hi\n/set temperature 0\n/retry\n/exit\nnever asked\n")

    assert turns(gateway) == [[("user", "Hi")]] * 2
    assert [request.sampling.temperature for request in gateway.generator.seen] == [0.7, 0.0]


def test_an_error_ends_the_answer_and_not_the_talk(pomona: Pomona, gateway: Gateway) -> None:
    gateway.generator.choose = lambda request: (
        [Overloaded("Too many requests.")] if [said("user", "bad")] == list(request.messages or ()) else answer("fine")
    )

    result = pomona("chat", "--url", gateway.urls.public, stdin="bad\ngood\n")

    assert (result.exit_code, result.stdout) == (0, "fine\n")
    assert "error: Too many requests." in result.stderr
    assert turns(gateway)[-1] == [("user", "good")]


def test_a_talk_is_saved_and_loaded(pomona: Pomona, gateway: Gateway, home: Path) -> None:
    pomona("chat", "--url", gateway.urls.public, "-s", "Be kind.", stdin="/set seed 7\nHi\n/save talk.json\n")
    pomona("chat", "--url", gateway.urls.public, stdin="/load talk.json\nAgain\n")

    saved = json.loads((home / "talk.json").read_text(encoding="utf-8"))
    assert saved["messages"] == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello world"}]
    assert turns(gateway)[-1] == [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello world"), ("user", "Again")]
    assert gateway.generator.seen[-1].sampling.seed == 7


def test_help_names_every_command() -> None:
    text = react(talk(), "/help").text

    assert all(f"/{name}" in text for name in COMMANDS)


def test_clear_keeps_the_system_message() -> None:
    conversation = talk()
    conversation.system = "Be kind."

    react(conversation, "/clear")

    assert (conversation.turns, conversation.system) == ([], "Be kind.")


def test_the_system_message_is_shown_set_and_removed() -> None:
    conversation = talk()

    assert "no system message" in react(conversation, "/system").text
    react(conversation, "/system Be brief.")
    assert "Be brief." in react(conversation, "/system").text
    react(conversation, "/system none")
    assert conversation.system is None


@pytest.mark.parametrize(("line", "value"), [("/set top_k 40", 40), ("/set top_k=40", 40), ("/set top_k 40 ", 40)])
def test_options_are_set(line: str, value: int) -> None:
    conversation = talk()

    assert react(conversation, line).text == "top_k = 40"
    assert conversation.request().sampling.top_k == value
    react(conversation, "/set top_k default")
    assert conversation.request().sampling.top_k == 0


def test_all_options_are_listed() -> None:
    text = react(talk(), "/set").text

    assert all(name in text for name in DIALS)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/tmep", "/help"),
        ("/hlep", "/help"),
        ("/set", "temperature"),
        ("/set temperature", "/set temperature VALUE"),
        ("/set temprature 1", "temperature"),
        ("/set temperature hot", "'hot'"),
        ("/set temperature nan", "'nan'"),
        ("/set top_p 2", "to 1"),
        ("/set top_k 1.5", "whole number"),
        ("/save", "/save FILE"),
        ("/save /nowhere/at/all", "Cannot write"),
        ("/load /nowhere/at/all", "Cannot read"),
        ("/retry", "Nothing was asked"),
    ],
)
def test_mistakes_are_explained(line: str, words: str) -> None:
    reaction = react(Conversation(model="m"), line)

    assert words in reaction.text
    assert reaction.then == "read"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": "m", "messages": [{"role": "tool", "content": ""}]}', '{"messages": 3}'])
def test_what_is_no_conversation_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(InvalidRequest, match="no conversation"):
        Conversation.load(path)


@pytest.mark.parametrize("name", DIALS)
def test_every_dial_takes_both_ends_of_its_range(name: str) -> None:
    dial = DIALS[name]

    assert read_dial(name, str(dial.kind(dial.least))) == dial.kind(dial.least)
    assert read_dial(name, str(dial.kind(dial.most))) == dial.kind(dial.most)


def test_a_last_backslash_is_text() -> None:
    assert join_lines(["a\\", "b\\"]) == "a\nb\\"
