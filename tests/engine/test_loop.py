"""The device loop with a real engine and a gateway of one list: what is said of rows that are lost."""

from dataclasses import replace

from pomona.core.generation import Grammar, Prompt
from pomona.engine.process.channel import Channel
from pomona.engine.process.loop import DeviceLoop
from pomona.engine.protocol import Add, Refused, Shutdown, Step, ToEngine, ToGateway
from tests.engine.harness import alone, make_engine, make_prompt


class ListChannel(Channel):
    """Hands out `commands`, and the end when as many rows as there were prompts are over."""

    def __init__(self, prompts: list[Prompt]) -> None:
        self.commands: list[ToEngine] = [Add.of(prompt) for prompt in prompts]
        self.open = {prompt.id for prompt in prompts}
        self.sent: list[ToGateway] = []

    def receive(self, wait_seconds: float) -> ToEngine | None:
        del wait_seconds
        if self.commands:
            return self.commands.pop(0)
        return None if self.open else Shutdown()

    def send(self, message: ToGateway) -> None:
        self.sent.append(message)
        if isinstance(message, Refused):
            self.open.remove(message.id)
        elif isinstance(message, Step):
            self.open -= {row.id for row in message.rows if row.finish_reason}


def test_a_lost_row_is_refused_and_the_others_go_on() -> None:
    broken = replace(make_prompt("broken", [1, 2]), grammar=Grammar(source="start: nowhere"))
    scored = replace(make_prompt("scored", range(20), max_tokens=0), prompt_logprobs=1)
    plain = make_prompt("plain", range(10))
    channel = ListChannel([broken, plain, scored])
    assert DeviceLoop(make_engine("llama"), channel, lambda: None, 1.0).run()
    refused = [message for message in channel.sent if isinstance(message, Refused)]
    assert [(each.id, each.code) for each in refused] == [("broken", "invalid_request")]
    rows = [row for message in channel.sent if isinstance(message, Step) for row in message.rows]
    assert {row.id for row in rows} == {"plain", "scored"}
    assert [token for row in rows if row.id == "plain" for token in row.token_ids] == alone("llama", plain).tokens
    assert [len(row.prompt_token_logprobs()) for row in rows if row.id == "scored"] == [19]
