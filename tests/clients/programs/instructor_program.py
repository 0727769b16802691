"""Instructor: a stream of partial answers, a structured answer by a tool call, one by a JSON schema."""

import json
import sys

import instructor
from openai import OpenAI
from pydantic import BaseModel, Field


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=20)
    people: int = Field(ge=0, le=9_999_999)


url, name = sys.argv[1:]
question = {
    "model": name,
    "response_model": City,
    "messages": [{"role": "user", "content": "Paris has two million people."}],
    "temperature": 0,
    "max_tokens": 120,
}
client = OpenAI(base_url=f"{url}/v1", api_key="none")
by_tool = instructor.from_openai(client, mode=instructor.Mode.TOOLS)
by_schema = instructor.from_openai(client, mode=instructor.Mode.JSON_SCHEMA)
partial = [each.model_dump() for each in by_tool.create_partial(**question)]
print(
    json.dumps(
        {
            "stream": partial,
            "called": by_tool.create(**question).model_dump(),
            "structured": by_schema.create(**question).model_dump(),
        }
    )
)
