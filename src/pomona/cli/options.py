"""Options that many commands share, and what they add up to: an `Invocation`.

Global options may stand before or after the command. Options made by `setting_option` change one setting each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from pomona.core.settings import LoadedSettings

Decorated = TypeVar("Decorated", bound=Callable[..., object])
Processed = Callable[[click.Context, click.Parameter, Any], Any]


@dataclass(slots=True, kw_only=True)
class Invocation:
    """What the options of this call say about settings and presentation."""

    profile: str | None = None
    overrides: dict[str, object] = field(default_factory=dict[str, object])
    """Dotted setting names and values from the command line."""
    verbosity: int = 0
    """-1 quiet, 0 normal, 1 verbose."""
    color: bool | None = None
    """False: never. None: where the stream is a terminal."""

    def settings(self, *, log_level: str | None = None) -> "LoadedSettings":
        """All settings. `log_level` is used where nobody chose one. Raises ConfigurationError."""
        from pomona.app import read_settings

        overrides = dict(self.overrides)
        level = {-1: "error", 1: "debug"}.get(self.verbosity, log_level)
        if level and "logging.level" not in overrides:
            loaded = read_settings(overrides, profile=self.profile)
            if self.verbosity or loaded.origin("logging.level") == "default":
                overrides["logging.level"] = level
        return read_settings(overrides, profile=self.profile)

    def as_options(self) -> list[str]:
        """The same settings as words of a command line, for a child process."""
        profile = ["--profile", self.profile] if self.profile else []
        return profile + [word for name, value in self.overrides.items() for word in ("--set", f"{name}={_as_text(value)}")]


def invocation_of(context: click.Context) -> Invocation:
    """The one `Invocation` of this call."""
    return context.ensure_object(Invocation)


class AnyText(click.types.BoolParamType):
    """True for any text but the empty one: the rule of https://no-color.org."""

    name = "any"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        """A flag's True and False as they are, a variable's text by its presence."""
        return bool(value)


def setting_option(*names: str, setting: str, **attributes: object) -> Callable[[Decorated], Decorated]:
    """An option that sets the setting of the dotted name `setting` when it is given."""

    def keep(context: click.Context, parameter: click.Parameter, value: object) -> object:
        if context.get_parameter_source(parameter.name or "") is click.core.ParameterSource.COMMANDLINE:
            invocation_of(context).overrides[setting] = value
        return value

    return click.option(*names, callback=keep, expose_value=False, **cast("dict[str, Any]", attributes))


def model_option(function: Decorated) -> Decorated:
    """`--model`: sets `models.default`."""
    text = "Model to use: a name from `pomona list`, a folder, or a Hugging Face repository in the local cache."
    option = setting_option("-m", "--model", setting="models.default", metavar="NAME", help=text, shell_complete=complete_model)
    return option(function)


def device_option(function: Decorated) -> Decorated:
    """`--device`: sets `models.device`."""
    devices = click.Choice(["auto", "metal", "cuda", "cpu"])
    return setting_option("--device", setting="models.device", type=devices, help="Where the model runs.")(function)


def json_option(function: Decorated) -> Decorated:
    """`--json`: print data for programs."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(function)


def complete_model(context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Names that `pomona list` would show and that begin with `incomplete`. Whatever goes wrong, there are no suggestions."""
    from click.shell_completion import CompletionItem

    from pomona.app import model_names
    from pomona.core.errors import PomonaError
    from pomona.models.references import known_names

    try:
        settings = invocation_of(context).settings().settings
        names = known_names(settings.models, model_names(settings))
    except (PomonaError, OSError):
        return []
    return [CompletionItem(name) for name in names if name.lower().startswith(incomplete.lower())]


def _keep_profile(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        invocation_of(context).profile = value


def _keep_verbosity(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        invocation_of(context).verbosity = 1 if parameter.name == "verbose" else -1


def _keep_color(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        invocation_of(context).color = False
    context.color = invocation_of(context).color


def _keep_overrides(context: click.Context, parameter: click.Parameter, value: Sequence[str]) -> None:
    overrides = invocation_of(context).overrides
    for text in value:
        name, separator, setting = text.partition("=")
        if not separator or name.count(".") < 1 or not all(name.split(".")):
            raise click.BadParameter(f"{text!r} is not of the form section.field=value, such as server.port=8080.", context, parameter)
        clash = next((other for other in overrides if other.startswith(f"{name}.") or name.startswith(f"{other}.")), None)
        if clash:
            raise click.BadParameter(f"{name!r} and {clash!r} set the same thing; give one of them.", context, parameter)
        overrides[name] = _parse(setting)


def _as_text(value: object) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value)


def _parse(text: str) -> object:
    from pomona.core.settings import parse_value

    return parse_value(text)


def _global(*names: str, callback: Processed, **attributes: object) -> click.Option:
    return click.Option(names, callback=callback, expose_value=False, is_eager=True, **cast("dict[str, Any]", attributes))


GLOBAL_OPTIONS: tuple[click.Option, ...] = (
    _global("--no-color", callback=_keep_color, is_flag=True, type=AnyText(), envvar="NO_COLOR", help="Plain text (also: NO_COLOR=1)."),
    _global("--profile", "--config-profile", callback=_keep_profile, metavar="NAME", help="Start from development, production or test."),
    _global("--set", callback=_keep_overrides, multiple=True, metavar="SECTION.FIELD=VALUE", help="Change any setting; see config:show."),
    _global("-v", "--verbose", callback=_keep_verbosity, is_flag=True, help="Show debug logs and tracebacks."),
    _global("-q", "--quiet", callback=_keep_verbosity, is_flag=True, help="Show errors only."),
)


class PomonaCommand(click.Command):
    """A command that also takes the global options, and lists them apart from its own."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Own parameters, then global ones."""
        return [*super().get_params(ctx), *GLOBAL_OPTIONS]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Two sections: own and global options."""
        own = [parameter for parameter in super().get_params(ctx) if isinstance(parameter, click.Option)]
        write_options(ctx, formatter, "Options", own)
        write_options(ctx, formatter, "Global options", GLOBAL_OPTIONS)


def write_options(context: click.Context, formatter: click.HelpFormatter, title: str, options: Sequence[click.Option]) -> None:
    """One section of a help text."""
    records = [record for option in options if (record := option.get_help_record(context))]
    if records:
        with formatter.section(title):
            formatter.write_dl(records)
