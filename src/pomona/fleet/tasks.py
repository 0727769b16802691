"""What a model is for, as the settings or its files say."""

from pomona.core.settings import ModelsSettings
from pomona.core.status import Task
from pomona.models.catalog import look_into
from pomona.models.references import ResolvedModel


def task_for(model: ResolvedModel, settings: ModelsSettings) -> Task:
    """What `model` does; a folder that cannot be read is taken for a language model, whose loading then says what is wrong."""
    for name in (model.id, *model.aliases, model.reference):
        if name in settings.tasks:
            return settings.tasks[name]
    facts, _ = look_into(model.path)
    return facts.task if facts else "generate"
