"""Command-line options read off a pydantic config, and written back from one: one field is config, option and help at once.

The nested groups `task` and `model` disappear from option names (`model.dropout.attention` is `--dropout-attention`), others
stay as a prefix (`averaging.eta` is `--averaging-eta`).
"""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from models.config import Config, TaskConfig
from models.default_models import default_model, default_train_length
from workbench.training_config import TrainingConfig

HIDDEN_GROUPS = {"task", "model"}
SET_BY_TASK = {("task", "name"), ("model", "vocab"), ("model", "context")}


@dataclass(frozen=True)
class ConfigOption:
    """One leaf of a nested config as a command-line option."""

    path: tuple[str, ...]
    field: FieldInfo

    @property
    def parameter(self) -> str:
        """Name of the Python parameter: `dropout_attention`."""
        return "_".join(self.path[1:] if self.path[0] in HIDDEN_GROUPS else self.path)

    @property
    def flag(self) -> str:
        """Name on the command line: `--dropout-attention`."""
        return "--" + self.parameter.replace("_", "-")


def config_options(config: type[Config] = TrainingConfig, prefix: tuple[str, ...] = ()) -> Iterator[ConfigOption]:
    """The options of a config, in the order of its fields."""
    for name, field in config.model_fields.items():
        path = (*prefix, name)
        if inspect.isclass(field.annotation) and issubclass(field.annotation, Config):
            yield from config_options(field.annotation, path)
        elif path not in SET_BY_TASK:
            yield ConfigOption(path, field)


def config_from_options(task: str, options: Mapping[str, Any]) -> TrainingConfig:
    """The configuration that a task's defaults and the given options make.

    Raises ValueError naming the option, the value and what was expected.
    """
    nested: dict[str, Any] = {"task": {"name": task}}
    flags = {option.path: option.flag for option in config_options()}
    for option in config_options():
        if option.parameter in options:
            group = nested
            for key in option.path[:-1]:
                group = group.setdefault(key, {})
            group[option.path[-1]] = _parse(option, options[option.parameter])
    try:
        task_config = TaskConfig.model_validate(nested["task"])
        model = _merge(default_model(task_config).model_dump(), nested.get("model", {}))
        default_length = default_train_length(task_config, model["context"])
        return TrainingConfig.model_validate({"train_length": default_length, **nested, "model": model})
    except ValidationError as error:
        first = error.errors()[0]
        place = tuple(str(part) for part in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        flag = flags.get(place) or flags.get(("task", *place))
        raise ValueError(f"{flag}: {problem} (got {first['input']})" if flag else problem) from error


def _parse(option: ConfigOption, value: Any) -> Any:
    if option.field.annotation != tuple[int, ...]:
        return value
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError as error:
        raise ValueError(f"{option.flag}: expected whole numbers such as 100,200,500 (got {value})") from error


def _merge(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        merged[key] = _merge(base[key], value) if isinstance(value, Mapping) else value
    return merged


def command_options(config: TrainingConfig) -> list[str]:
    """The options, other than defaults, that `config_from_options` makes this configuration from."""
    default = config_from_options(config.task.name, {"vocab": config.task.vocab} if config.task.vocab else {})
    words: list[str] = []
    for option in config_options():
        value, usual = _leaf(config, option.path), _leaf(default, option.path)
        always = option.path in {("task", "vocab"), ("train_length",), ("steps",), ("seed",)}
        if value is not None and (value != usual or always):
            words += _words(option, value)
    return words


def _words(option: ConfigOption, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [option.flag if value else f"--no-{option.flag[2:]}"]
    return [option.flag, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]


def _leaf(config: Config, path: tuple[str, ...]) -> Any:
    for name in path:
        config = getattr(config, name)
    return config
