"""Clients that take nothing but an address, a key and a model's name from their environment."""

from collections.abc import Sequence

from pomona.ops.launch.plan import OWN_SHELL, Client, Plan, Target, given


def _aider(target: Target, arguments: Sequence[str]) -> Plan:
    model = () if given(arguments, "--model") else ("--model", f"openai/{target.model}")
    return Plan(
        arguments=(*model, "--no-show-model-warnings", "--no-check-update"),
        environment={"OPENAI_API_BASE": f"{target.url}/v1", "OPENAI_API_KEY": target.api_key},
    )


def _qwen(target: Target, arguments: Sequence[str]) -> Plan:
    kind = () if given(arguments, "--auth-type") else ("--auth-type", "openai")
    return Plan(arguments=kind, environment=_openai(target) | {"OPENAI_MODEL": target.model})


def _shell(target: Target, _arguments: Sequence[str]) -> Plan:
    anthropic = {"ANTHROPIC_BASE_URL": target.url, "ANTHROPIC_AUTH_TOKEN": target.api_key, "ANTHROPIC_MODEL": target.model}
    return Plan(environment=_openai(target) | anthropic | {"OPENAI_API_BASE": f"{target.url}/v1", "OPENAI_MODEL": target.model})


def _openai(target: Target) -> dict[str, str | None]:
    return {"OPENAI_BASE_URL": f"{target.url}/v1", "OPENAI_API_KEY": target.api_key}


AIDER = Client(name="aider", title="Aider", program="aider", install="python -m pip install aider-chat", own_tokens=3_000, plan=_aider)
QWEN = Client(name="qwen", title="Qwen Code", program="qwen", install="npm install -g @qwen-code/qwen-code", own_tokens=20_000, plan=_qwen)
SHELL = Client(
    name="shell",
    title="a shell with OPENAI_* and ANTHROPIC_* set, for any other program",
    program=OWN_SHELL,
    install="",
    own_tokens=0,
    plan=_shell,
)
