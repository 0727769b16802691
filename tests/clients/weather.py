"""A tool server in the Model Context Protocol over standard input and output, with one tool that knows the weather."""

import json
import sys
from typing import Any

TOOL = {
    "name": "get_weather",
    "description": "Get the current weather in a city.",
    "inputSchema": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "The city."}},
        "required": ["city"],
    },
}


def answer(message: dict[str, Any]) -> dict[str, Any]:
    """The response to one request."""
    parameters = message.get("params", {})
    match message["method"]:
        case "initialize":
            version = parameters["protocolVersion"]
            result: dict[str, Any] = {
                "protocolVersion": version,
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "weather", "version": "1"},
            }
        case "tools/list":
            result = {"tools": [TOOL]}
        case "tools/call":
            result = {"content": [{"type": "text", "text": f"It is sunny in {parameters['arguments']['city']}, 21 degrees."}]}
        case method:
            return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": f"no method {method}"}}
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


if __name__ == "__main__":
    for line in sys.stdin:
        request = json.loads(line)
        if "id" in request:
            print(json.dumps(answer(request)), flush=True)
