"""A conversation, free of any vendor's wire format."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["system", "developer", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPart:
    """A run of text inside a message."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturePart:
    """A picture, or the pages of a PDF, inside a message: where it is, or what it is. Exactly one of `url` and `data` is given.

    `url` is `data:`, `http:`, `https:` or `file:`; nothing has been fetched, decoded or checked yet. `param` is the field that it came
    from, for errors.
    """

    url: str | None = None
    data: bytes | None = None
    detail: Literal["auto", "low", "high"] = "auto"
    param: str = "messages"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedPicture:
    """A picture as one model takes it, in place of a `PicturePart`: loaded, decoded, resized. A PDF becomes one for each page."""

    pixels: bytes = field(repr=False)
    """(height, width, 3), 8 bits, RGB, rows from the top."""
    height: int
    width: int
    digest: bytes
    """16 bytes over pixels and size."""
    token_ids: tuple[int, ...] = field(repr=False)
    """What stands for it in a prompt."""


Part = TextPart | PicturePart | PreparedPicture


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that an assistant message made. `arguments` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn. `content` is never None: a turn that only calls tools has no parts."""

    role: Role
    content: tuple[Part, ...] = ()
    name: str | None = None
    reasoning: str = ""
    """What an assistant thought before it answered. Templates that keep thoughts show it; others leave it out."""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    extra: Mapping[str, object] = field(default_factory=dict[str, object])

    @property
    def text(self) -> str:
        """All text parts joined, as most chat templates want them."""
        return "".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def pictures(self) -> tuple[PicturePart, ...]:
        """All pictures that are still to be prepared, in order."""
        return tuple(part for part in self.content if isinstance(part, PicturePart))


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDefinition:
    """A function that the model may call. `parameters` is a JSON Schema object."""

    name: str
    description: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict[str, object])
    strict: bool = False
    """Every call must fit `parameters`: enforced by grammar from the moment that the model begins a call."""
