"""What each client is given: the address, the model, and no more of its own prompt than the model has room for."""

import json
import tomllib
from dataclasses import replace

import pytest

from pomona.ops.launch.catalog import CLIENTS
from pomona.ops.launch.plan import Plan, Target

URL, MODEL, KEY = "http://127.0.0.1:11440", "acme/tiny-chat", "pomona_sk_x"


def target(*, max_context: int | None = 40_000, compact: bool = False) -> Target:
    return Target(url=URL, model=MODEL, max_context=max_context, api_key=KEY, compact=compact)


def plan(name: str, *arguments: str, compact: bool = False, max_context: int | None = 40_000) -> Plan:
    return CLIENTS[name].plan(target(compact=compact, max_context=max_context), arguments)


def codex_settings(given: Plan) -> dict[str, object]:
    """The `-c` overrides, read as Codex reads them."""
    words = given.arguments
    lines = [words[index + 1] for index, word in enumerate(words) if word == "-c"]
    return tomllib.loads("\n".join(lines))


@pytest.mark.parametrize("name", list(CLIENTS))
@pytest.mark.parametrize("compact", [False, True])
def test_every_client_learns_the_address_the_model_and_the_key(name: str, compact: bool) -> None:
    given = plan(name, compact=compact)

    told = json.dumps([*given.arguments, *given.environment.values()])
    assert URL in told
    assert MODEL in told
    assert KEY in told


@pytest.mark.parametrize("name", list(CLIENTS))
def test_files_are_named_by_the_folder_that_they_are_put_into(name: str) -> None:
    placed = plan(name, compact=True).placed("/somewhere")

    told = " ".join([*placed.arguments, *(value or "" for value in placed.environment.values())])
    assert "{folder}" not in told
    assert all(f"/somewhere/{file}" in told for file in placed.files)


def test_claude_code_is_told_what_keeps_its_prompts_the_same_from_turn_to_turn() -> None:
    environment = plan("claude").environment

    assert environment["CLAUDE_CODE_ATTRIBUTION_HEADER"] == "0"
    assert environment["CLAUDE_CODE_AUTO_COMPACT_WINDOW"] == "40000"
    assert "ANTHROPIC_API_KEY" in environment
    assert environment["ANTHROPIC_API_KEY"] is None


def test_claude_code_guesses_the_context_where_nobody_knows_it() -> None:
    assert "CLAUDE_CODE_AUTO_COMPACT_WINDOW" not in plan("claude", max_context=None).environment


def test_short_instructions_give_way_to_the_persons_own() -> None:
    ours = plan("claude", compact=True).arguments
    theirs = plan("claude", "--bare", "--tools", "Read", "--system-prompt=Be brief.", compact=True).arguments

    assert ours[:2] == ("--bare", "--disable-slash-commands")
    assert "--tools" in ours
    assert theirs == ("--disable-slash-commands",)


def test_codex_is_configured_on_its_command_line_alone() -> None:
    settings = codex_settings(plan("codex"))

    assert settings["model"] == MODEL
    assert settings["model_context_window"] == 40_000
    providers = settings["model_providers"]
    assert isinstance(providers, dict)
    assert providers["pomona"]["base_url"] == f"{URL}/v1"
    assert providers["pomona"]["wire_api"] == "responses"


def test_codex_reads_short_instructions_from_a_file_that_is_there() -> None:
    given = plan("codex", compact=True).placed("/somewhere")

    assert codex_settings(given)["model_instructions_file"] == "/somewhere/instructions.md"
    assert given.files["instructions.md"].strip()


def test_codex_is_told_what_the_server_says_of_the_model() -> None:
    entry = {"slug": MODEL, "context_window": 40_000}
    given = CLIENTS["codex"].plan(replace(target(), codex_entry=entry), ()).placed("/somewhere")

    assert codex_settings(given)["model_catalog_json"] == "/somewhere/models.json"
    assert json.loads(given.files["models.json"]) == {"models": [entry]}


def test_opencode_gets_its_configuration_in_one_variable() -> None:
    text = plan("opencode", compact=True, max_context=4096).environment["OPENCODE_CONFIG_CONTENT"]

    configuration = json.loads(text or "")
    assert configuration["model"] == f"pomona/{MODEL}"
    assert configuration["provider"]["pomona"]["models"][MODEL]["limit"] == {"context": 4096, "output": 1024}
    assert configuration["tools"] == {"*": False, "bash": False, "read": True, "edit": True, "write": True}


@pytest.mark.parametrize(("max_context", "compact"), [(4096, True), (32_768, True), (131_072, False), (None, False)])
def test_a_client_is_shortened_where_little_room_would_be_left(max_context: int | None, compact: bool) -> None:
    assert CLIENTS["claude"].wants_compact(max_context) is compact
