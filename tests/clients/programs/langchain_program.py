"""LangChain with OpenAI's and Anthropic's classes: a stream, a tool call, a structured answer."""

import json
import sys
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=20)
    people: int = Field(ge=0, le=9_999_999)


@tool
def get_weather(city: str) -> str:
    """Get the current weather in a city."""
    return f"It is sunny in {city}, 21 degrees."


def exercise(model: Any, method: str) -> dict[str, Any]:
    pieces = [str(chunk.text) for chunk in model.stream("Hello! Who are you?")]
    message = model.bind_tools([get_weather]).invoke("What is the weather in Paris?")
    structured = model.with_structured_output(City, method=method).invoke("Paris has two million people.")
    return {
        "stream": [piece for piece in pieces if piece],
        "called": [call["args"]["city"] for call in message.tool_calls],
        "structured": structured.model_dump(),
    }


url, name = sys.argv[1:]
openai = ChatOpenAI(model=name, base_url=f"{url}/v1", api_key="none", temperature=0, max_tokens=120)
responses = ChatOpenAI(model=name, base_url=f"{url}/v1", api_key="none", temperature=0, max_tokens=120, use_responses_api=True)
anthropic = ChatAnthropic(model_name=name, base_url=url, api_key="none", temperature=0, max_tokens=120)
print(
    json.dumps(
        {
            "chat": exercise(openai, "json_schema"),
            "responses": exercise(responses, "json_schema"),
            "messages": exercise(anthropic, "function_calling"),
        }
    )
)
