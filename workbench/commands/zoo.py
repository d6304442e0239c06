"""`workbench zoo`: the bundled checkpoints."""

import typer


def zoo() -> None:
    """List the bundled checkpoints; each name can stand for a CHECKPOINT."""
    from models.checkpoint import ZOO, bundled_names, read_card, run_checkpoints

    for name in bundled_names():
        folders = run_checkpoints(ZOO / name)
        card = read_card(folders[-1])
        steps = f"{len(folders)} steps to {card.step}" if len(folders) > 1 else f"step {card.step}"
        typer.echo(
            f"{name}  {card.task.name}, trained to length {card.train_length}, dropout {card.model.dropout.label}, "
            f"{'/'.join(card.weights)}, {steps}"
        )
