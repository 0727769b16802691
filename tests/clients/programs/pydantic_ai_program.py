"""pydantic-ai: a stream, a tool that is called, a structured answer."""

import asyncio
import json
import sys

from pydantic import BaseModel, Field
from pydantic_ai import Agent, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings


class City(BaseModel):
    name: str = Field(max_length=20)
    people: int = Field(ge=0, le=9_999_999)


async def main(url: str, name: str) -> None:
    model = OpenAIChatModel(name, provider=OpenAIProvider(base_url=f"{url}/v1", api_key="none"))
    settings = ModelSettings(temperature=0.0, max_tokens=120)
    async with Agent(model, model_settings=settings).run_stream("Hello! Who are you?") as run:
        pieces = [piece async for piece in run.stream_text(delta=True)]

    called: list[str] = []
    agent = Agent(model, model_settings=settings, instructions="You are a helpful assistant.")

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """Get the current weather in a city."""
        called.append(city)
        return f"It is sunny in {city}, 21 degrees."

    said = await agent.run("What is the weather in Paris?")
    structured = await Agent(model, model_settings=settings, output_type=ToolOutput(City)).run("Paris has two million people.")
    print(json.dumps({"stream": pieces, "called": called, "said": said.output, "structured": structured.output.model_dump()}))


asyncio.run(main(*sys.argv[1:]))
