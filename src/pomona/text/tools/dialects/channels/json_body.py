"""The arguments of a call as the body of a message."""

from pomona.text.tools.calls import Calls
from pomona.text.tools.json_calls import JsonArguments
from pomona.text.tools.walking import MalformedCall, Reader, Steps

ARGUMENTS_BEGIN = ("{", '"', "n")
"""An object, an object within a string, or null."""


def arguments_follow(reader: Reader) -> Steps[None]:
    """Raises MalformedCall where what comes next cannot be arguments."""
    yield from reader.space()
    while not reader.rest:
        yield from reader.more()
    if reader.rest[0] not in ARGUMENTS_BEGIN:
        raise MalformedCall


def json_body(reader: Reader, calls: Calls) -> Steps[None]:
    """Read the arguments of the call that was begun, and end it. Raises MalformedCall where they are none."""
    arguments = JsonArguments(calls.arguments)
    while not arguments.done:
        if not reader.rest:
            yield from reader.more()
        rest = arguments.push(reader.take(len(reader.rest)))
        reader.put_back(rest)
        reader.begin(arguments.held)
        if arguments.failed:
            raise MalformedCall
    reader.begin()
    calls.end()
