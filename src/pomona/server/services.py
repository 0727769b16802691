"""What every HTTP resource works with."""

from dataclasses import dataclass

from pomona.control.stack import Control
from pomona.core.ports import EngineStatus, Generator, ModelDirectory, Tokenization
from pomona.core.settings import Settings
from pomona.server.drain import Drain
from pomona.server.recording import Recorder


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The ports that a gateway stands in front of."""

    generator: Generator
    directory: ModelDirectory
    status: EngineStatus
    tokenization: Tokenization


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The ports behind one gateway, and what its resources share."""

    generator: Generator
    directory: ModelDirectory
    status: EngineStatus
    tokenization: Tokenization
    settings: Settings
    recorder: Recorder
    drain: Drain
    control: Control
    """What every answer has to pass; `answering.begin` sees to it."""
