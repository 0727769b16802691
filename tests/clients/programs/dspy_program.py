"""DSPy: a stream, a tool that is called, a structured answer."""

import asyncio
import json
import sys
from typing import Any

import dspy
import litellm
from pydantic import BaseModel, Field


class City(BaseModel):
    name: str = Field(max_length=20)
    people: int = Field(ge=0, le=9_999_999)


def get_weather(city: str) -> str:
    """Get the current weather in a city."""
    return f"It is sunny in {city}, 21 degrees."


async def main(url: str, name: str) -> None:
    # DSPy asks LiteLLM what a model can do, and LiteLLM knows no local ones.
    able = {"litellm_provider": "openai", "mode": "chat", "supports_response_schema": True, "supports_function_calling": True}
    litellm.register_model({f"openai/{name}": able})
    model = dspy.LM(f"openai/{name}", api_base=f"{url}/v1", api_key="none", temperature=0.0, max_tokens=200, cache=False)
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
    structured = dspy.Predict("text: str -> city: City", custom_types={"City": City})(text="Paris has two million people.")
    print(json.dumps({"stream": pieces or [final.answer], "called": called, "structured": structured.city.model_dump()}))


asyncio.run(main(*sys.argv[1:]))
