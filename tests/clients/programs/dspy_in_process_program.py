"""DSPy on Pomona's own engine, without HTTP: a stream, a tool that is called, a structured answer. Runs in the project's Python."""

import asyncio
import json
import sys
from typing import Any

sys.path.append(sys.argv[1])  # DSPy and what it needs, behind our own packages

import dspy
from pydantic import BaseModel, Field

from pomona import Engine
from pomona.dspy import language_model


class City(BaseModel):
    name: str = Field(max_length=20)
    people: int = Field(ge=0, le=9_999_999)


class Describe(dspy.Signature):
    text: str = dspy.InputField()
    city: City = dspy.OutputField()


def get_weather(city: str) -> str:
    """Get the current weather in a city."""
    return f"It is sunny in {city}, 21 degrees."


async def main(engine: Engine) -> None:
    model = language_model(engine, temperature=0.0, max_tokens=200, cache=False)
    dspy.configure(lm=model, adapter=dspy.JSONAdapter())
    pieces: list[str] = []
    stream = dspy.streamify(
        dspy.Predict("question -> answer"), stream_listeners=[dspy.streaming.StreamListener(signature_field_name="answer")]
    )
    final: Any = None
    async for piece in stream(question="Who are you?"):
        if isinstance(piece, dspy.streaming.StreamResponse):
            pieces.append(piece.chunk)
        elif isinstance(piece, dspy.Prediction):
            final = piece

    request = dspy.lm15.Request(
        model=model.model,
        messages=(dspy.lm15.Message.user("What is the weather in Paris?"),),
        tools=(
            dspy.lm15.FunctionTool(
                "get_weather",
                "Get the current weather in a city.",
                {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
            ),
        ),
    )
    response = model(request)
    called = [part.input["city"] for part in response.tool_calls]
    city = dspy.Predict(Describe)(text="Paris has two million people.").city
    try:
        model("far too long " * 5000)
        refused = ""
    except dspy.utils.exceptions.ContextWindowExceededError as error:
        refused = str(error)
    print(json.dumps({"stream": pieces or [final.answer], "called": called, "structured": city.model_dump(), "refused": refused}))


if __name__ == "__main__":
    with Engine("pomona-tiny", settings={"engine.kv_cache_bytes": 2**26}) as running:
        asyncio.run(main(running))
