"""A conversation and its options: what is asked next, what is saved."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pomona.cli.pictures import user_turn
from pomona.core.errors import InvalidRequest
from pomona.core.generation import GenerateRequest, SamplingParams
from pomona.core.messages import Message, PicturePart, Role, TextPart
from pomona.ops.remote_request import content_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """An option of the answers: its type and the range that makes sense."""

    kind: type[int] | type[float]
    least: float
    most: float
    meaning: str


DIALS: Mapping[str, Dial] = {
    "temperature": Dial(kind=float, least=0, most=10, meaning="0 is greedy, higher is more varied"),
    "top_p": Dial(kind=float, least=1e-6, most=1, meaning="keep the most likely tokens up to this probability"),
    "top_k": Dial(kind=int, least=0, most=1_000_000, meaning="keep the k most likely tokens; 0 keeps all"),
    "min_p": Dial(kind=float, least=0, most=1, meaning="drop tokens less likely than this share of the best"),
    "repetition_penalty": Dial(kind=float, least=0.01, most=10, meaning="above 1 discourages repeating"),
    "presence_penalty": Dial(kind=float, least=-2, most=2, meaning="above 0 encourages new words"),
    "frequency_penalty": Dial(kind=float, least=-2, most=2, meaning="above 0 discourages frequent words"),
    "seed": Dial(kind=int, least=0, most=2**63 - 1, meaning="same seed, same answer"),
    "max_tokens": Dial(kind=int, least=1, most=10_000_000, meaning="longest answer"),
}

_ROLES: Mapping[str, Role] = {"user": "user", "assistant": "assistant"}


@dataclass(slots=True, kw_only=True)
class Conversation:
    """Turns so far, and how the next one is to be answered. `dials` holds only what was set."""

    model: str
    system: str | None = None
    dials: dict[str, float | int] = field(default_factory=dict[str, float | int])
    turns: list[Message] = field(default_factory=list[Message])
    pictures: list[PicturePart] = field(default_factory=list[PicturePart])
    """They go with what is said next."""

    def request(self) -> GenerateRequest:
        """The request for the next answer."""
        system = (said("system", self.system),) if self.system else ()
        max_tokens = self.dials.get("max_tokens")
        return GenerateRequest(
            id=f"chat-{uuid.uuid4().hex}",
            model=self.model,
            messages=(*system, *self.turns),
            sampling=sampling_from(self.dials),
            max_tokens=int(max_tokens) if max_tokens is not None else None,
        )

    def say(self, text: str) -> None:
        """The person's next turn, with the pictures that were waiting for it."""
        self.turns.append(user_turn(text, self.pictures))
        self.pictures = []

    def turn_dial(self, name: str, text: str) -> None:
        """Set an option from text; `default` takes it back. Raises InvalidRequest."""
        if name not in DIALS:
            raise InvalidRequest(f"There is no option {name!r}. Options: {', '.join(DIALS)}.")
        if text == "default":
            self.dials.pop(name, None)
        else:
            self.dials[name] = read_dial(name, text)

    def take_back_answer(self) -> bool:
        """Drop the last answer, so that it can be given again; False when nothing was asked yet."""
        while self.turns and self.turns[-1].role != "user":
            self.turns.pop()
        return bool(self.turns)

    def save(self, path: Path) -> None:
        """Write everything to a JSON file. Raises InvalidRequest."""
        messages = [{"role": turn.role, "content": content_of(turn)} for turn in self.turns]
        document = {"model": self.model, "system": self.system, "options": self.dials, "messages": messages}
        try:
            path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise InvalidRequest(f"Cannot write {str(path)!r}: {error.strerror}.") from None

    @classmethod
    def load(cls, path: Path) -> "Conversation":
        """Read what `save` wrote. Raises InvalidRequest."""
        try:
            document = cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
            turns = [_loaded(_ROLES[turn["role"]], turn["content"]) for turn in document["messages"]]
            loaded = cls(model=str(document["model"]), system=document.get("system"), turns=turns)
            for name, value in cast("dict[str, object]", document.get("options") or {}).items():
                loaded.turn_dial(name, str(value))
        except OSError as error:
            raise InvalidRequest(f"Cannot read {str(path)!r}: {error.strerror}.") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidRequest(f"{str(path)!r} holds no conversation ({type(error).__name__}: {error}). /save writes one.") from None
        return loaded


def said(role: Role, text: str) -> Message:
    """A message of one text part."""
    return Message(role=role, content=(TextPart(text=text),))


def _loaded(role: Role, content: object) -> Message:
    if not isinstance(content, list):
        return said(role, str(content))
    return Message(role=role, content=tuple(map(_loaded_part, cast("list[dict[str, Any]]", content))))


def _loaded_part(part: Mapping[str, Any]) -> TextPart | PicturePart:
    if part["type"] == "text":
        return TextPart(text=str(part["text"]))
    url = part["image_url"]["url"] if part["type"] == "image_url" else part["file"]["file_data"]
    return PicturePart(url=str(url), param="a picture of the saved conversation")


def sampling_from(dials: Mapping[str, float | int]) -> SamplingParams:
    """Sampling parameters from options; those that are not set keep their defaults."""
    return SamplingParams(**cast("dict[str, Any]", {name: value for name, value in dials.items() if name != "max_tokens"}))


def read_dial(name: str, text: str) -> float | int:
    """The value of option `name`. Raises InvalidRequest."""
    dial = DIALS[name]
    try:
        value = dial.kind(text)
    except ValueError:
        value = None
    if value is None or not dial.least <= value <= dial.most:
        whole = "a whole number" if dial.kind is int else "a number"
        raise InvalidRequest(f"{name} = {text!r} cannot be used: it takes {whole} from {dial.least:g} to {dial.most:g} ({dial.meaning}).")
    return value
