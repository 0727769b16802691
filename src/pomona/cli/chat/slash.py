"""The commands inside a chat: lines that begin with a slash."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pomona.cli.chat.conversation import DIALS, Conversation
from pomona.cli.pictures import picture_from
from pomona.core.errors import InvalidRequest, PomonaError


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """What the chat does next, and what it says first."""

    text: str = ""
    then: Literal["read", "answer", "leave"] = "read"


@dataclass(frozen=True, slots=True)
class Slash:
    """A command: its argument in the help, what it does, and the function behind it."""

    argument: str
    meaning: str
    run: Callable[[Conversation, str], Reaction]


def react(conversation: Conversation, line: str) -> Reaction:
    """Run the command in `line`. Mistakes are told, never raised."""
    name, _, argument = line[1:].partition(" ")
    command = COMMANDS.get(name)
    if command is None:
        close = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
        hint = f"Did you mean /{close[0]}?" if close else "/help lists all."
        return Reaction(text=f"There is no command /{name}. {hint}")
    try:
        return command.run(conversation, argument.strip())
    except PomonaError as error:
        return Reaction(text=error.message)


def _help(_conversation: Conversation, _argument: str) -> Reaction:
    lines = [f"  /{name} {command.argument}".ljust(30) + command.meaning for name, command in COMMANDS.items()]
    ways = [
        "",
        "  A picture dropped on the terminal goes with the message.",
        "  Alt-Enter, or \\ at the end of a line, goes on in the next line.",
        "  Ctrl-C stops an answer, Ctrl-D leaves.",
    ]
    return Reaction(text="\n".join([*lines, *ways]))


def _clear(conversation: Conversation, _argument: str) -> Reaction:
    conversation.turns.clear()
    conversation.pictures.clear()
    return Reaction(text="Forgot the conversation; system message and options stay.")


def _system(conversation: Conversation, argument: str) -> Reaction:
    if not argument:
        return Reaction(
            text=f"system: {conversation.system}" if conversation.system else "There is no system message. Set one: /system TEXT"
        )
    conversation.system = None if argument == "none" else argument
    return Reaction(text="Set the system message." if conversation.system else "Removed the system message.")


def _image(conversation: Conversation, argument: str) -> Reaction:
    if argument == "none":
        conversation.pictures.clear()
    elif argument:
        conversation.pictures.append(picture_from(argument.strip("'\"")))
    return Reaction(text=waiting_pictures(conversation))


def waiting_pictures(conversation: Conversation) -> str:
    """Which pictures go with what is said next."""
    if not conversation.pictures:
        return "No pictures go with the next message. Add one: /image PATH or /image URL"
    return "With the next message: " + ", ".join(picture.param for picture in conversation.pictures)


def _set(conversation: Conversation, argument: str) -> Reaction:
    if not argument:
        return Reaction(
            text="\n".join(f"  {name} = {conversation.dials.get(name, 'default')}".ljust(34) + dial.meaning for name, dial in DIALS.items())
        )
    name, _, value = argument.replace("=", " ").partition(" ")
    if not value.strip():
        raise InvalidRequest(f"Which value? Write /set {name} VALUE, or /set {name} default.")
    conversation.turn_dial(name, value.strip())
    return Reaction(text=f"{name} = {conversation.dials.get(name, 'default')}")


def _model(conversation: Conversation, argument: str) -> Reaction:
    if argument:
        conversation.model = argument
    return Reaction(text=f"model: {conversation.model}")


def _save(conversation: Conversation, argument: str) -> Reaction:
    path = _path(argument, "/save FILE")
    conversation.save(path)
    return Reaction(text=f"Saved {len(conversation.turns)} messages to {path}.")


def _load(conversation: Conversation, argument: str) -> Reaction:
    loaded = Conversation.load(_path(argument, "/load FILE"))
    conversation.system, conversation.dials, conversation.turns = loaded.system, loaded.dials, loaded.turns
    return Reaction(text=f"Loaded {len(loaded.turns)} messages (they were with {loaded.model}; this is {conversation.model}).")


def _retry(conversation: Conversation, _argument: str) -> Reaction:
    return Reaction(then="answer") if conversation.take_back_answer() else Reaction(text="Nothing was asked yet.")


def _exit(_conversation: Conversation, _argument: str) -> Reaction:
    return Reaction(then="leave")


def _path(argument: str, usage: str) -> Path:
    if not argument:
        raise InvalidRequest(f"Which file? Write {usage}.")
    return Path(argument).expanduser()


COMMANDS: Mapping[str, Slash] = {
    "help": Slash("", "show this", _help),
    "clear": Slash("", "forget the conversation", _clear),
    "retry": Slash("", "answer the last message again", _retry),
    "system": Slash("[TEXT | none]", "show or set the system message", _system),
    "image": Slash("[PATH | URL | none]", "show a picture or PDF with the next message", _image),
    "set": Slash("[NAME VALUE]", "show or set options, such as temperature 0.5", _set),
    "model": Slash("[NAME]", "show or change the model", _model),
    "save": Slash("FILE", "save the conversation", _save),
    "load": Slash("FILE", "go on with a saved conversation", _load),
    "exit": Slash("", "leave (also /quit, Ctrl-D)", _exit),
    "quit": Slash("", "leave", _exit),
}
