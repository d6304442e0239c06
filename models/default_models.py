"""The model each task is trained with when nothing else is asked for. Imports no torch."""

from models.config import ModelConfig, TaskConfig


def default_model(task: TaskConfig) -> ModelConfig:
    """The default model of a task, with vocabulary and context as the task sets them.

    Set complement: one attention-only head without positions or norms, wide enough (width >= v - 1) for the construction that
    solves every length (`models/set_complement/closed_form.py`). Othello: a small GPT, pre-norm, learned positions.
    """
    if task.name == "set-complement":
        assert task.vocab is not None, "TaskConfig checks this"
        return ModelConfig(vocab=task.vocab, context=task.vocab - 1, width=max(64, task.vocab), head_width=max(64, task.vocab))
    squares = (task.board or 8) ** 2 - 4  # the four centre squares are never played
    return ModelConfig(
        vocab=squares + 1,
        context=squares - 1,
        layers=4,
        heads=4,
        width=128,
        head_width=32,
        mlp_width=512,
        positions="learned",
        norm="pre",
        final_norm=True,
    )
