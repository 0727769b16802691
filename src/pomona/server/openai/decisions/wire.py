"""The body and the answer of POST /v1/decisions (SDK 3.52)."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, Tag

from pomona.server.bodies import WireBody, needs, rules, unless, where
from pomona.server.openai.wire import NonEmpty, union_of

MOST_QUESTIONS = 400
MOST_OPTIONS = 255
TEXTS = ("input_text", "output_text", "text")
CALLS = ("function_call", "custom_tool_call")
OUTPUTS = ("function_call_output", "custom_tool_call_output")


class Part(WireBody):
    """Text, JSON, or the refusal of an earlier answer. Pictures are refused."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            where("type", ["refusal"], needs("refusal", {"type": "string"})),
            where("type", TEXTS, needs("text", {"type": "string"})),
        )
    )

    type: Literal["input_text", "output_text", "text", "refusal", "input_json", "input_image"] = Field(
        json_schema_extra={"enum": [*TEXTS, "refusal", "input_json"]}
    )
    text: str | None = None
    refusal: str | None = None
    data: dict[str, Any] | list[dict[str, Any]] | None = None


Parts = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[Part], Tag("<parts>")],
    union_of({str: "<text>", list: "<parts>"}, "a string or a list of parts"),
]


class Item(WireBody):
    """A message, a call of a tool, or what came of it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            where("type", [*CALLS, *OUTPUTS], needs("call_id")),
            unless("type", [*CALLS, *OUTPUTS], {"allOf": [needs("role"), needs("content")]}),
        )
    )

    type: Literal["message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"] = "message"
    role: Literal["user", "developer", "system", "assistant"] | None = None
    content: Parts | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    output: Parts | None = None


class Choice(WireBody):
    """One of the options of a choice."""

    value: str | bool
    description: str | None = None


class Level(WireBody):
    """One of the ordered levels of a score."""

    label: str
    description: str | None = None


class Question(WireBody):
    """A statement to be judged, a choice to be made, or a score to be given."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            where("type", ["choice"], needs("choices", {"type": "array", "uniqueItems": True})),
            where("type", ["score"], needs("levels")),
            {"properties": {"instructions": {"minLength": 1, "pattern": r"\S", "minItems": 1}}},
        )
    )

    type: Literal["predicate", "choice", "score"]
    instructions: Parts
    name: str | None = None
    choices: list[Choice] | None = Field(None, min_length=2, max_length=MOST_OPTIONS, description="For `choice`; no two the same.")
    levels: list[Level] | None = Field(None, min_length=2, max_length=MOST_OPTIONS, description="For `score`, from the lowest.")


class DecisionRequest(WireBody):
    """The body of POST /v1/decisions."""

    model: NonEmpty
    input: Annotated[
        Annotated[str, Tag("<text>")] | Annotated[list[Item], Field(min_length=1), Tag("<items>")],
        union_of({str: "<text>", list: "<items>"}, "a string or a list of items"),
    ]
    questions: list[Question] = Field(min_length=1, max_length=MOST_QUESTIONS)
    prompt_cache_key: str | None = None


class PredicateAnswer(WireBody):
    """How likely the statement is true."""

    type: Literal["predicate"]
    name: str | None
    probability: float


class ChoiceProbability(WireBody):
    """How likely one option is the right one."""

    value: str | bool
    probability: float


class ChoiceAnswer(WireBody):
    """The likeliest option. `confidence` is 1 where all is certain and 0 where all options are equally likely."""

    type: Literal["choice"]
    name: str | None
    choice: str | bool
    confidence: float
    probabilities: list[ChoiceProbability]


class LevelProbability(WireBody):
    """How likely one level is the right one. `value` is its place, from 0."""

    label: str
    value: int
    probability: float


class ScoreAnswer(WireBody):
    """The mean of the levels' places, weighted by their probabilities."""

    type: Literal["score"]
    name: str | None
    score: float
    confidence: float
    probabilities: list[LevelProbability]


class RefusalAnswer(WireBody):
    """The model gave no answer that could be read."""

    type: Literal["refusal"]
    name: str | None


class InputDetails(WireBody):
    """What the prefix cache spared."""

    cached_tokens: int
    cache_write_tokens: int


class OutputDetails(WireBody):
    """Nothing is thought: always 0."""

    reasoning_tokens: int


class DecisionUsage(WireBody):
    """Tokens over all questions. The input counts for each of them, mostly as cached."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class Decision(WireBody):
    """The answers, in the order of the questions."""

    answers: list[PredicateAnswer | ChoiceAnswer | ScoreAnswer | RefusalAnswer]
    model: str
    usage: DecisionUsage
