"""What every group of settings is."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of settings: unknown names are errors, values are checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)
