"""The options of `workbench train`, which are the fields of its configuration."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from workbench.config_options import ConfigOption, config_options


def with_config_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a typer command the options of `TrainingConfig`; it receives those that were given, in its `options` mapping."""
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "options"]
    names = {option.parameter for option in config_options()}

    def with_options(**arguments: Any) -> None:
        given = {name: arguments.pop(name) for name in names}
        command(**arguments, options={name: value for name, value in given.items() if value is not None})

    parameters = [
        inspect.Parameter(
            option.parameter,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[_command_line_type(option.field), typer.Option(_declaration(option), help=_help(option))],
        )
        for option in config_options()
    ]
    with_options.__signature__ = inspect.Signature([*own, *parameters])  # type: ignore[attr-defined]
    with_options.__doc__ = command.__doc__
    with_options.__name__ = command.__name__
    return with_options


def _command_line_type(field: FieldInfo) -> Any:
    return str | None if field.annotation == tuple[int, ...] else field.annotation | None  # type: ignore[operator]


def _declaration(option: ConfigOption) -> str:
    return f"{option.flag}/--no-{option.flag[2:]}" if option.field.annotation is bool else option.flag


def _help(option: ConfigOption) -> str:
    if option.path[0] == "model" and option.path[1] != "dropout":
        default = "the task's"
    elif option.path == ("train_length",):
        default = "vocab / 4, a whole game, or 16 brackets"
    else:
        default = option.field.get_default(call_default_factory=True)
    shown = "" if default is None or default == () else f" [default: {default}]"
    return f"{option.field.description}{shown}"
