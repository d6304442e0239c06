"""The model each task is trained with when nothing else is asked for. Imports no torch."""

from models.config import BRACKET_KINDS, BRACKET_LONGEST, ModelConfig, TaskConfig


def default_model(task: TaskConfig) -> ModelConfig:
    """The default model of a task, with vocabulary and context as the task sets them.

    Set complement: one attention-only head without positions or norms, wide enough (width >= v - 1) for the construction that
    solves every length (`models/set_complement/closed_form.py`). Othello: a small GPT, pre-norm, learned positions. Brackets:
    a smaller one of two layers without positions, so that longer inputs hold nothing untrained.
    """
    if task.name == "set-complement":
        assert task.vocab is not None, "TaskConfig checks this"
        return ModelConfig(vocab=task.vocab, context=task.vocab - 1, width=max(64, task.vocab), head_width=max(64, task.vocab))
    if task.name == "brackets":
        return ModelConfig(
            vocab=2 * (task.kinds or BRACKET_KINDS),
            context=BRACKET_LONGEST,
            layers=2,
            heads=4,
            width=64,
            head_width=16,
            mlp_width=256,
            norm="pre",
            final_norm=True,
        )
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


def default_train_length(task: TaskConfig, context: int) -> int:
    """The training length of a task when none is asked for: v / 4, a whole game, or 16 brackets, as far as the context goes."""
    if task.name == "set-complement":
        assert task.vocab is not None, "TaskConfig checks this"
        return max(1, task.vocab // 4)
    return min(context, 16) if task.name == "brackets" else context
