"""What a client is, and what it takes to start it once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

NO_CHANGES: Mapping[str, str | None] = {}
OWN_SHELL = ""
"""As a client's program: the shell of whoever launches it."""
SHORT_INSTRUCTIONS = "You are a helpful coding assistant. Use the tools to do what the user asks, then answer briefly."


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The server and the model that a client is to use. `max_context` is in tokens, None where nobody knows it."""

    url: str
    model: str
    max_context: int | None
    api_key: str
    codex_entry: Mapping[str, object] | None = None
    """What the server's list of models says of the model in Codex's words."""
    vision: bool = False
    """The model takes pictures."""
    compact: bool = False
    """Leave out of the client's own prompt what it can do without, because the model's context is small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One start of one client. Nothing outside of its process is changed.

    `environment` maps names to values, None takes a variable away. `files` are written to a folder that is gone afterwards; `{folder}`
    in arguments and values stands for it.
    """

    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str | None] = field(default_factory=lambda: NO_CHANGES)
    files: Mapping[str, str] = field(default_factory=dict[str, str])

    def placed(self, folder: str) -> "Plan":
        """The plan once its folder is known."""
        return Plan(
            arguments=tuple(each.replace("{folder}", folder) for each in self.arguments),
            environment={name: value and value.replace("{folder}", folder) for name, value in self.environment.items()},
            files=self.files,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A program that can be launched. `plan` gets the target and the words that the person added for the client."""

    name: str
    title: str
    program: str
    install: str
    """The command that installs it."""
    own_tokens: int
    """About how long its own instructions and tools are: models with little more context get the compact form."""
    plan: Callable[[Target, Sequence[str]], Plan]

    def wants_compact(self, max_context: int | None) -> bool:
        """The model's context leaves too little room beside the client's own prompt: less than a third."""
        return max_context is not None and max_context < self.own_tokens * 3 // 2


def given(arguments: Sequence[str], *options: str) -> bool:
    """One of `options` is among the person's own arguments, which then count instead of ours."""
    return any(word == option or word.startswith(f"{option}=") for word in arguments for option in options)
