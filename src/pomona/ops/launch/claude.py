"""Claude Code: the environment of docs/howto/use-claude-code.md, and `--bare` where the context is small."""

from collections.abc import Sequence

from pomona.ops.launch.plan import SHORT_INSTRUCTIONS, Client, Plan, Target, given

DAY_IN_MILLISECONDS = "86400000"


def _plan(target: Target, arguments: Sequence[str]) -> Plan:
    environment: dict[str, str | None] = {
        "ANTHROPIC_BASE_URL": target.url,
        "ANTHROPIC_AUTH_TOKEN": target.api_key,
        "ANTHROPIC_API_KEY": None,  # Claude Code asks whether to use a key that it finds beside a token
        "ANTHROPIC_MODEL": target.model,
        "ANTHROPIC_DEFAULT_OPUS_MODEL": target.model,
        "ANTHROPIC_DEFAULT_SONNET_MODEL": target.model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": target.model,
        "CLAUDE_CODE_SUBAGENT_MODEL": target.model,
        # Lines that change with every request would keep the whole prompt from being found in the cache.
        "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
        "CLAUDE_CODE_TOTAL_TOKENS_REMINDER": "off",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_FEEDBACK_COMMAND": "1",
        "DISABLE_TELEMETRY": "1",
        "API_TIMEOUT_MS": DAY_IN_MILLISECONDS,
    }
    if target.max_context is not None:
        environment["CLAUDE_CODE_AUTO_COMPACT_WINDOW"] = str(target.max_context)
    if not target.compact:
        return Plan(environment=environment)
    environment["ANTHROPIC_API_KEY"] = target.api_key  # --bare takes nothing else
    return Plan(environment=environment, arguments=_short(arguments))


def _short(arguments: Sequence[str]) -> tuple[str, ...]:
    """A prompt of some 1,000 tokens rather than 25,000."""
    short: list[str] = [] if given(arguments, "--bare") else ["--bare"]
    if not given(arguments, "--disable-slash-commands"):
        short.append("--disable-slash-commands")
    if not given(arguments, "--tools"):
        short += ["--tools", "Bash,Read,Edit,Write"]
    if not given(arguments, "--system-prompt", "--system-prompt-file"):
        short += ["--system-prompt", SHORT_INSTRUCTIONS]
    return tuple(short)


CLAUDE = Client(
    name="claude",
    title="Claude Code",
    program="claude",
    install="npm install -g @anthropic-ai/claude-code",
    own_tokens=25_000,
    plan=_plan,
)
