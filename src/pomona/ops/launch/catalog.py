"""All clients, by name."""

from collections.abc import Mapping

from pomona.ops.launch.claude import CLAUDE
from pomona.ops.launch.codex import CODEX
from pomona.ops.launch.opencode import OPENCODE
from pomona.ops.launch.others import AIDER, QWEN, SHELL
from pomona.ops.launch.plan import Client

CLIENTS: Mapping[str, Client] = {client.name: client for client in (CLAUDE, CODEX, OPENCODE, AIDER, QWEN, SHELL)}
