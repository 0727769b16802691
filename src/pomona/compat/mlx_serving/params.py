"""The parameters of mlx-serving's calls, in either spelling, checked as its schemas checked them.

Unknown ones pass: those that Pomona knows (`top_k`, `min_p`, `logit_bias`, `keep_alive`, `ignore_eos`, in either spelling) count.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator
from pydantic.alias_generators import to_camel

from pomona.compat.mlx_serving.errors import EngineClientError

RENAMED = {"modelId": "model", "stream": "streaming", "addSpecialTokens": "addBos"}
PASSED = ("top_k", "min_p", "logit_bias", "keep_alive", "ignore_eos")
PRIORITIES: Mapping[str, str] = {"urgent": "high", "default": "normal", "background": "low"}
FORMS: Mapping[str, Literal["4bit", "8bit"]] = {"int4": "4bit", "int8": "8bit"}
NonEmpty = Annotated[str, Field(min_length=1)]
Id = Annotated[int, Field(ge=0)]


class Parameters(BaseModel):
    """Both spellings of every name; camelCase is the one in errors."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow", strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _in_one_spelling(cls, given: Any) -> Any:
        fields = fields_of(given)
        return given if fields is None else spelled(fields)


class Template(Parameters):
    """A text with `{{name}}` or `{name}` in it, and what stands for the names."""

    template: str
    variables: dict[str, str]

    def filled(self) -> str:
        """The text. Names without a variable stay as they are."""
        pattern = re.compile(r"\{\{\s*(\w+)\s*\}\}|\{(\w+)\}")
        return pattern.sub(lambda match: self.variables.get(match[1] or match[2], match[0]), self.template)


class Tokens(Parameters):
    """A prompt in ids."""

    tokens: list[Id]


class Structured(Parameters):
    """The form of an answer. `yaml` gave XML in mlx-serving, and does here."""

    schema_: dict[str, Any] = Field(alias="schema")
    format: Literal["json", "yaml", "xml"]


class Multimodal(Parameters):
    """Pictures of a prompt."""

    images: list[Any]
    image_format: Literal["base64", "url", "path"] | None = None

    def pictures(self) -> list[Any]:
        """As Pomona takes them."""
        if self.image_format == "base64":
            return [image if str(image).startswith("data:") else f"data:image/png;base64,{image}" for image in self.images]
        return self.images


def _kind_of_prompt(given: object) -> str | None:
    if isinstance(given, str):
        return "<text>"
    if isinstance(given, Mapping):
        return "<template>" if "template" in given else "<tokens>" if "tokens" in given else None
    return None


Prompt = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[Template, Tag("<template>")] | Annotated[Tokens, Tag("<tokens>")],
    Discriminator(
        _kind_of_prompt, custom_error_type="invalid_union", custom_error_message="should be a text, {template, variables} or {tokens}"
    ),
]


class GeneratorParams(Parameters):
    """What an answer is made from."""

    model: NonEmpty
    prompt: Prompt
    max_tokens: int = Field(default=512, gt=0, le=100_000)
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.9, ge=0, le=1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    repetition_penalty: float | None = Field(default=None, ge=0)
    stop_sequences: list[str] | None = None
    stop_token_ids: list[Id] | None = None
    seed: int | None = Field(default=None, ge=0)
    streaming: bool = True
    structured: Structured | None = None
    multimodal: Multimodal | None = None
    draft_model: str | None = None
    prompt_tokens: list[Id] | None = None
    hints: dict[str, Any] | None = None

    @property
    def text(self) -> str | list[int]:
        """The prompt."""
        if self.prompt_tokens is not None:
            return self.prompt_tokens
        if isinstance(self.prompt, Template):
            return self.prompt.filled()
        return self.prompt if isinstance(self.prompt, str) else self.prompt.tokens

    def options(self) -> dict[str, Any]:
        """As options of `AsyncEngine.stream`. Scores are asked for since they carry the ids of tokens."""
        options: dict[str, Any] = {
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "repetition_penalty": self.repetition_penalty or None,
            "stop": self.stop_sequences or None,
            "seed": self.seed,
        }
        extra = self.model_extra or {}
        passed = {name: extra.get(to_camel(name)) for name in PASSED}
        return options | {name: value for name, value in passed.items() if value is not None} | self._form()

    def _form(self) -> dict[str, Any]:
        if self.structured is None:
            return {}
        if self.structured.format == "json":
            return {"schema": self.structured.schema_}
        return {"response_format": {"type": "xml_schema", "schema": self.structured.schema_}}


class ImageInput(Parameters):
    """A picture: a file, an address, a data: address, or bytes."""

    source: str | bytes


class VisionParams(GeneratorParams):
    """What an answer about pictures is made from. `visionConfig` is read and not used: sizes are those of the model."""

    image: list[ImageInput] = Field(min_length=1)
    vision_config: dict[str, Any] | None = None

    @field_validator("image", mode="before")
    @classmethod
    def _as_list(cls, given: Any) -> Any:
        """One or several; a text or bytes alone are a source."""
        several: list[Any] = cast("list[Any]", given) if isinstance(given, list) else [given]
        return [{"source": each} if isinstance(each, str | bytes) else each for each in several]

    def pictures(self) -> list[Any]:
        """As Pomona takes them."""
        return [each.source for each in self.image]


class GeneratorOptions(Parameters):
    """How an answer is made. `signal` is an `asyncio.Event` (or anything with `wait`): once it is set, the answer ends."""

    signal: Any = None
    stream_id: str | None = None
    timeout_ms: float | None = Field(default=None, gt=0)
    priority: Literal["urgent", "default", "background"] = "default"


class LoadOptions(Parameters):
    """Which model, and how."""

    model: NonEmpty
    draft: bool = False
    revision: str | None = None
    quantization: Literal["none", "int8", "int4"] | None = None
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])
    trust_remote_code: bool = False

    @model_validator(mode="before")
    @classmethod
    def _by_descriptor(cls, given: Any) -> Any:
        """A model may be named by its descriptor."""
        fields = fields_of(given) or {}
        described = fields_of(spelled(fields).get("model"))
        return given if described is None else {**spelled(fields), "model": described.get("path") or described.get("id")}

    @field_validator("quantization", mode="before")
    @classmethod
    def _by_bits(cls, given: Any) -> Any:
        """Vision models had {bits, groupSize}."""
        fields = fields_of(given)
        return given if fields is None else f"int{fields.get('bits', 4)}"

    @property
    def form(self) -> Literal["4bit", "8bit"] | None:
        """The smaller copy that is asked for."""
        return FORMS.get(self.quantization or "none")

    @property
    def is_folder(self) -> bool:
        """It is named by its folder."""
        return self.model[:1] in {"/", ".", "~"} and Path(self.model).expanduser().is_dir()

    @property
    def name(self) -> str:
        """With its revision."""
        return f"{self.model}@{self.revision}" if self.revision and self.revision != "main" else self.model


class TokenizeRequest(Parameters):
    """A text, which may be empty."""

    model: NonEmpty
    text: str
    add_bos: bool = True


def merged(given: object, more: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a call, from an object, from keywords, or from both."""
    if given is None:
        return spelled(more)
    fields = given.model_dump(by_alias=True) if isinstance(given, BaseModel) else fields_of(given)
    if fields is None:
        raise EngineClientError("InvalidParams", f"Validation error on field 'root': is {given!r}; an object of parameters is wanted.")
    return {**spelled(fields), **spelled(more)}


def named(given: object, more: Mapping[str, Any]) -> dict[str, Any]:
    """As `merged`, where a text alone names the model."""
    return {"model": given, **spelled(more)} if isinstance(given, str) else merged(given, more)


def spelled(given: Mapping[Any, Any]) -> dict[str, Any]:
    """Keys in camelCase; None counts as not given."""
    camel = {to_camel(str(key)): value for key, value in given.items() if value is not None}
    return {RENAMED.get(key, key): value for key, value in camel.items()}


def fields_of(given: object) -> Mapping[Any, Any] | None:
    """What an object holds; None for what is no object."""
    return cast("Mapping[Any, Any]", given) if isinstance(given, Mapping) else None
