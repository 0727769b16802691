"""The field `keep_alive` of every body that asks a model for something: how long the model stays loaded afterwards."""

from typing import Annotated

from pydantic import Field

from pomona.server.bodies import SECONDS_PATTERN, read_seconds

KeepAlive = Annotated[
    Annotated[float, Field(allow_inf_nan=False)] | Annotated[str, Field(json_schema_extra={"pattern": SECONDS_PATTERN})] | None,
    Field(description="Extension: how long the model stays loaded after this, in seconds or as `5m`; 0: not at all, -1: for ever."),
]


def keep_alive_seconds(keep_alive: float | str | None) -> float | None:
    """The field as a request has it. Raises InvalidRequest."""
    return None if keep_alive is None else read_seconds(keep_alive, "keep_alive")
