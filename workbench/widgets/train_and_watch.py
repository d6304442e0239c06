"""TrainAndWatch: trains a set-complement model beside the notebook and shows how raw, EMA and BEMA do by length meanwhile.

The training is the workbench's own (`workbench.training.train`), and what it leaves is an ordinary run, which the other
explorers open. Pausing saves a checkpoint and lets go of the run; starting again goes on from it, bit for bit.
"""

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd
import plotly.graph_objects as go

from models.checkpoint import read_card, run_checkpoints
from models.config import AveragingConfig, DropoutRates, TaskConfig
from models.default_models import default_model
from models.table_labels import averaging_label
from models.transformer import with_weights
from workbench.evaluation import evaluate
from workbench.figures.theme import length_range
from workbench.run import RUN_FILE, read_run
from workbench.trainer import Trainer
from workbench.training import Row, train
from workbench.training_config import TrainingConfig, changed_fields
from workbench.widgets.background import Progress, Stopped
from workbench.widgets.explorer import Explorer, NothingYet, slider
from workbench.widgets.metric_panels import PANELS, axis, metric_curves, metric_panels, metric_scales, vertical_line
from workbench.widgets.redraw import figure_of

RUNS = Path("runs")
SEQUENCES = 128
SECONDS = 1.0
"""At least this long between two measurements."""


@dataclass(frozen=True, eq=False)
class Moment:
    """One measurement during training."""

    run: str
    step: int
    table: pd.DataFrame
    title: str


def quick_config(
    vocab: int,
    train_length: int,
    steps: int,
    seed: int,
    embedding: float,
    attention: float,
    residual: float,
    decay: float,
    eta: float,
) -> TrainingConfig:
    """A run that gives a useful model soon: batches of 128, constant learning rate 2e-3.

    Raises pydantic's ValidationError for settings out of range.
    """
    task = TaskConfig(name="set-complement", vocab=vocab)
    dropout = DropoutRates(embedding=embedding, attention=attention, residual=residual)
    return TrainingConfig(
        task=task,
        model=default_model(task).model_copy(update={"dropout": dropout}),
        averaging=AveragingConfig(decay=decay, eta=eta),
        train_length=train_length,
        steps=steps,
        seed=seed,
        batch=128,
        learning_rate=2e-3,
        schedule="constant",
        save_every=max(1, steps // 10),
        log_every=10,
    )


def settings_of(config: TrainingConfig) -> dict[str, float | None]:
    """What `quick_config` was given, but for the steps, which may change; `vocab` is None of another task."""
    rates, averaging = config.model.dropout.model_dump(), config.averaging
    once = dict(vocab=config.task.vocab, train_length=config.train_length, seed=config.seed)
    return {**once, **rates, "decay": averaging.decay, "eta": averaging.eta}


def measure(trainer: Trainer, sequences: int = SEQUENCES) -> pd.DataFrame:
    """Rows of `evaluate` for raw, ema and bema at the trainer's present step, on sequences that it does not train on."""
    config = trainer.config
    frames = []
    for weights, state in trainer.weights().items():
        model = with_weights(config.model, state)
        model.weights = weights  # type: ignore[assignment]  # as `load` does
        averaging = None if weights == "raw" else averaging_label(config.averaging)
        known = dict(dropout=config.model.dropout.label, averaging=averaging, train_length=config.train_length)
        frames.append(evaluate(model, trainer.task, sequences=sequences).assign(seed=config.seed, step=trainer.step, **known))
    return pd.concat(frames, ignore_index=True)


class WatchView:
    """What is shown, as a pure function of which of the measured moments of one run is looked at."""

    def __init__(self) -> None:
        """Nothing measured yet."""
        self.moments: list[Moment] = []

    def figure(self, moment: int) -> go.Figure:
        """Metrics by length of raw, EMA and BEMA at a moment, counted from 1; raises NothingYet before the first."""
        if not self.moments:
            raise NothingYet("press Start: curves by length will move here while it trains")
        chosen = self.moments[max(moment, 1) - 1]
        drawn = metric_curves(chosen.table, "length")
        traces, layout = metric_panels(drawn, metric_scales(drawn), "length", chosen.title)
        panels = range(1, len(PANELS) + 1)
        for panel in panels:
            layout[axis("x", panel)] |= {"range": list(length_range(chosen.table))}
        trained = int(chosen.table["train_length"].iloc[0])
        layout["shapes"] = [vertical_line(panel, trained, chosen=False) for panel in panels]
        return figure_of(traces, layout | {"meta": {"run": chosen.run, "step": chosen.step}})


class TrainAndWatch(Explorer):
    """Set a model's vocabulary, training length, dropout and averaging; start, pause, stop; drag back through its training."""

    def __init__(self, folder: str | os.PathLike[str] = RUNS):
        """Runs are written into `folder`, under names that are not taken yet."""
        self.folder = Path(folder)
        self.view = WatchView()
        self._moments: dict[Path, list[Moment]] = {}
        self._halt = threading.Event()
        self._measured = 0.0
        controls: dict[str, Any] = {
            "vocab": slider("vocabulary", 4, 64, 16),
            "train_length": slider("trained to", 1, 63, 5),
            "steps": slider("steps", 100, 20_000, 3000),
            "seed": slider("seed", 0, 100, 0),
            **{site: _rate(f"{site} dropout") for site in DropoutRates.model_fields},
            "decay": widgets.FloatSlider(
                value=0.99, min=0.5, max=0.9999, step=0.0001, readout_format=".4f", **_look("EMA decay")
            ),
            "eta": widgets.FloatSlider(value=0.2, min=0, max=2, step=0.05, **_look("BEMA eta")),
            "moment": slider("moment", 0, 0, 0),
        }
        rows = (
            ("vocab", "train_length"),
            ("steps", "seed"),
            ("embedding", "attention", "residual"),
            ("decay", "eta"),
            ("moment",),
        )
        super().__init__("train-and-watch", controls, rows, (self.view.figure,))
        self.name = widgets.Text(value=self._free_name(), description="run", layout=widgets.Layout(width="260px"))
        self.buttons = {
            name: widgets.Button(description=name, icon=icon, layout=widgets.Layout(width="100px"))
            for name, icon in (("Start", "play"), ("Pause", "pause"), ("Stop", "stop"))
        }
        for name, act in (("Start", self.start), ("Pause", self.pause), ("Stop", self.stop)):
            self.buttons[name].on_click(lambda _, act=act: act())
        self.background.children = (self.background.bar, self.background.message)
        *settings, moment, picture, _ = self.children  # type: ignore[has-type]
        head = widgets.HBox([self.name, *self.buttons.values(), self.background])
        self.children = (*settings, head, moment, picture, self.export_box)

    @property
    def run(self) -> Path:
        """The folder of the run, which `load`, `compare` and the other explorers take.

        Raises ValueError for a name with path parts and for none.
        """
        name = self.name.value.strip()
        if Path(name).name != name or name in ("", ".."):
            raise ValueError(f"'{name}' cannot be the name of a run; give a plain name, without slashes")
        return self.folder / name

    def start(self) -> None:
        """Begins the run, or goes on with it where it was paused."""
        if not self.background.running:  # else a pause that has not come to rest yet would be undone
            self._halt.clear()
        self.background.start(self._train)

    def pause(self) -> None:
        """Saves a checkpoint after the present step and lets the run rest; `start` goes on with it."""
        self._halt.set()

    def stop(self) -> None:
        """Pauses, and gives the next start a new name."""
        self.pause()
        self.background.wait(10)
        self.name.value = self._free_name()

    def _train(self, progress: Progress) -> str:
        settings = {name: value for name, value in self.state.items() if name != "moment"}
        config, run = quick_config(**settings), self.run
        self._require_same_settings(run, config)
        self._show_moments_of(run)
        self._measured = 0.0

        def on_log(trainer: Trainer, row: Row) -> None:
            self._watch(run, trainer, row)
            try:
                progress(trainer.step / config.steps, f"step {trainer.step:,} of {config.steps:,}, loss {row['loss']:.3f}")
            except Stopped:
                self._halt.set()

        train(config, run, stop=self._halt, on_log=on_log)
        finished = read_card(run_checkpoints(run)[-1]).step == config.steps
        return f"saved as '{run}'" + ("; it is finished" if finished else "; Start goes on with it")

    def _watch(self, run: Path, trainer: Trainer, row: Row) -> None:
        if time.monotonic() - self._measured < SECONDS and trainer.step < trainer.config.steps:
            return
        at = f"step {trainer.step:,} of {trainer.config.steps:,}"
        title = f"{run.name} · {at} · loss {row['loss']:.4f} nats · dash-dotted: trained to"
        self.view.moments.append(Moment(run.name, trainer.step, measure(trainer), title))
        moment, seen = self.controls["moment"], len(self.view.moments)
        moment.max, moment.value = seen, seen
        self._measured = time.monotonic()

    def _show_moments_of(self, run: Path) -> None:
        """What was measured of this run here: nothing of a new one, nor of one that is begun again after it was deleted."""
        if not run.exists():
            self._moments.pop(run, None)
        with self._lock:
            self.view.moments = self._moments.setdefault(run, [])
            moment, seen = self.controls["moment"], len(self.view.moments)
            moment.max, moment.value = seen, seen
            self.renew()

    def _require_same_settings(self, run: Path, config: TrainingConfig) -> None:
        """Raises ValueError where the run is there with other settings, in the words of the controls."""
        if not (run / RUN_FILE).exists():
            return
        before = read_run(run).config
        then = {name: value for name, value in settings_of(before).items() if value is not None}
        changed = [f"{self.controls[name].description} {value:g}" for name, value in then.items() if value != self.state[name]]
        if changed or changed_fields(before, config):
            begun = ", ".join(changed) or "settings that this widget does not have"
            raise ValueError(
                f"{run.name} was begun with {begun}; set that again to go on with it, or press Stop or give another name"
            )

    def _free_name(self) -> str:
        number = 1
        while (self.folder / f"watched-{number}").exists():
            number += 1
        return f"watched-{number}"


def _look(description: str) -> dict[str, Any]:
    return dict(description=description, style={"description_width": "90px"}, layout=widgets.Layout(width="420px"))


def _rate(description: str) -> widgets.FloatSlider:
    style, layout = {"description_width": "130px"}, widgets.Layout(width="330px")
    return widgets.FloatSlider(value=0.0, min=0, max=0.9, step=0.05, description=description, style=style, layout=layout)
