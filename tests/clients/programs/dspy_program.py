"""DSPy: a stream, a tool that is called, a structured answer."""

import asyncio
import json
import sys
from typing import Any

import dspy
from pydantic import BaseModel, Field


class City(BaseModel):
    name: str = Field(max_length=20)
    people: int = Field(ge=0, le=9_999_999)


class AbleLM(dspy.LM):
    """DSPy looks up in catalogues what a model can do, and local ones are in none."""

    supports_response_schema = True
    supports_function_calling = True
    supported_params = frozenset({"response_format", "tools", "tool_choice", "temperature", "max_tokens"})

    async def aforward(self, *arguments: Any, **options: Any) -> Any:
        return await super().aforward(*arguments, **as_json(options))


def as_json(options: dict[str, Any]) -> dict[str, Any]:
    """DSPy 3.4.1 hands LiteLLM 1.83 a class where it wants JSON."""
    form = options.get("response_format")
    if not isinstance(form, type):
        return options
    schema = {"name": form.__name__, "schema": form.model_json_schema(), "strict": True}
    return options | {"response_format": {"type": "json_schema", "json_schema": schema}}


def get_weather(city: str) -> str:
    """Get the current weather in a city."""
    return f"It is sunny in {city}, 21 degrees."


async def main(url: str, name: str) -> None:
    model = AbleLM(f"openai/{name}", api_base=f"{url}/v1", api_key="none", temperature=0.0, max_tokens=200, cache=False)
    dspy.configure(lm=model, adapter=dspy.JSONAdapter(use_native_function_calling=True))
    pieces: list[str] = []
    listener = dspy.streaming.StreamListener(signature_field_name="answer")
    stream = dspy.streamify(dspy.Predict("question -> answer"), stream_listeners=[listener])
    final: Any = None
    async for piece in stream(question="Who are you?"):
        if isinstance(piece, dspy.streaming.StreamResponse):
            pieces.append(piece.chunk)
        elif isinstance(piece, dspy.Prediction):
            final = piece

    weather = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the current weather in a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    [answer] = model(messages=[{"role": "user", "content": "What is the weather in Paris?"}], tools=[weather])
    called = [json.loads(call.function.arguments)["city"] for call in answer["tool_calls"]]
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": City.model_json_schema(), "strict": True}}
    [text] = model("Paris has two million people.", response_format=form)
    structured = City.model_validate_json(text if isinstance(text, str) else text["text"])
    print(json.dumps({"stream": pieces or [final.answer], "called": called, "structured": structured.model_dump()}))


asyncio.run(main(*sys.argv[1:]))
