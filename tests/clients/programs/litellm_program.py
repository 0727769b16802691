"""LiteLLM, by OpenAI's and Anthropic's wire: a stream, a tool call, a structured answer."""

import json
import sys
from typing import Any

import litellm
from pydantic import BaseModel, Field


class City(BaseModel):
    name: str = Field(max_length=20)
    people: int = Field(ge=0, le=9_999_999)


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def exercise(**to: Any) -> dict[str, Any]:
    def ask(text: str, **more: Any) -> Any:
        return litellm.completion(messages=[{"role": "user", "content": text}], temperature=0, max_tokens=120, **to, **more)

    pieces = [chunk.choices[0].delta.content or "" for chunk in ask("Hello! Who are you?", stream=True)]
    calls = ask("What is the weather in Paris?", tools=[WEATHER]).choices[0].message.tool_calls
    structured = ask("Paris has two million people.", response_format=City).choices[0].message.content
    return {
        "stream": [piece for piece in pieces if piece],
        "called": [json.loads(call.function.arguments)["city"] for call in calls],
        "structured": City.model_validate_json(structured).model_dump(),
    }


url, name = sys.argv[1:]
print(
    json.dumps(
        {
            "chat": exercise(model=f"openai/{name}", api_base=f"{url}/v1", api_key="none"),
            "messages": exercise(model=f"anthropic/{name}", api_base=url, api_key="none"),
        }
    )
)
