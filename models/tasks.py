"""The registry of tasks: from a `TaskConfig` to a `Task`."""

from models.config import BRACKET_DEPTH, BRACKET_KINDS, TaskConfig
from models.task import Task


def make_task(config: TaskConfig) -> Task:
    """The task that a configuration (of a run, of a card) names. Raises ValueError for what is no configuration."""
    if not isinstance(config, TaskConfig):
        raise ValueError(f"{config!r} is no task configuration; give TaskConfig(name=...), with vocab=N for the set complement")
    match config.name:
        case "set-complement":
            from models.set_complement.task import SetComplementTask

            assert config.vocab is not None, "TaskConfig checks this"
            return SetComplementTask(config.vocab)
        case "othello":
            from models.othello.task import OthelloTask

            return OthelloTask(board=config.board or 8)
        case "brackets":
            from models.brackets import BracketTask

            return BracketTask(config.kinds or BRACKET_KINDS, config.depth or BRACKET_DEPTH)
