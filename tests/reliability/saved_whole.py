"""What a reader of a run may ever see: checkpoints that are whole."""

from pathlib import Path

from models.checkpoint import read_card, read_trainer, read_weights, run_checkpoints


def require_whole(run: Path, known: int = 0) -> list[int]:
    """Reads every file of every visible checkpoint but the first known ones, each against its sha256; returns their steps."""
    steps = []
    for folder in run_checkpoints(run)[known:]:
        card = read_card(folder)
        assert card.weights == ("raw", "ema", "bema")
        for weights in card.weights:
            read_weights(folder, weights, card)
        assert read_trainer(folder).facts["step"] == card.step
        steps.append(card.step)
    return steps


def leftovers(run: Path) -> list[str]:
    """What is no file of a run: temporary files and folders that a write left behind."""
    return [str(path.relative_to(run)) for path in run.rglob("*") if path.name.startswith(".")]


def require_equal_last(run: Path, other: Path) -> None:
    """Asserts that the last checkpoints of two runs have the same weights, averages and optimiser state, byte for byte."""
    first, second = (run_checkpoints(folder)[-1] for folder in (run, other))
    assert first.name == second.name
    for name in ("raw", "ema", "bema", "trainer"):
        assert (first / f"{name}.safetensors").read_bytes() == (second / f"{name}.safetensors").read_bytes(), name
