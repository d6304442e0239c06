"""Links, pipes, devices, folders and sparse files in the place of files: none is waited for, none read without end."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.checkpoint import CheckpointError, read_card, read_trainer, read_weights, run_checkpoints
from models.importers import import_checkpoint
from probes.board_probe import load_probe, save_probe
from workbench.fleet import Fleet
from workbench.kept_parts import KeptParts

from ..models.test_importers import mingpt_state
from ..probes.test_board_probe import probe_of
from ..workbench.fleet_members import member
from .held_to_limits import held
from .mutations import ELSEWHERE, lead_elsewhere


@pytest.mark.parametrize("name", ["card.json", "raw.safetensors", "trainer.json"])
@pytest.mark.parametrize("where", ELSEWHERE)
def test_what_is_no_plain_file_is_neither_waited_for_nor_read_without_end(tmp_path, sound_run, where, name):
    folder = tmp_path / "checkpoint"
    shutil.copytree(run_checkpoints(sound_run)[-1], folder)
    lead_elsewhere(folder / name, where)
    reading = held(lambda: (read_card(folder), read_weights(folder, "raw"), read_trainer(folder)))
    assert reading.error is not None
    reading.require_orderly(0)


def kept_probe(folder: Path) -> Callable[[], object]:
    save_probe(folder, probe_of("closed-form"))
    return lambda: load_probe(folder)


def kept_fleet(folder: Path) -> Callable[[], object]:
    Fleet([member()]).save(folder)
    return lambda: Fleet.resume(folder)


def kept_parts(folder: Path) -> Callable[[], object]:
    def read() -> object:
        return KeptParts(folder, {"seed": 1}).get("first", lambda: {"numbers": torch.ones(3)})

    read()
    return read


def foreign_file(folder: Path, ending: str) -> Callable[[], object]:
    folder.mkdir()
    file = folder / f"m.{ending}"
    (save_file if ending == "safetensors" else torch.save)(mingpt_state(layers=1), file)
    return lambda: import_checkpoint(str(file), folder / "out")


KEPT = (
    (partial(foreign_file, ending="safetensors"), "m.safetensors"),
    (partial(foreign_file, ending="pth"), "m.pth"),
    (kept_probe, "card.json"),
    (kept_probe, "probe.safetensors"),
    (kept_fleet, "fleet.json"),
    (kept_fleet, "step_00000000.safetensors"),
    (kept_parts, "settings.json"),
    (kept_parts, "first.safetensors"),
)


@pytest.mark.parametrize(("keep", "name"), KEPT, ids=[name for _, name in KEPT])
@pytest.mark.parametrize("where", ELSEWHERE)
def test_nor_are_foreign_files_and_those_of_probes_fleets_and_kept_parts(tmp_path, where, keep, name):
    """Where a link leads nowhere, a part is made again."""
    read = keep(tmp_path / "kept")
    assert held(read).error is None
    lead_elsewhere(tmp_path / "kept" / name, where)
    reading = held(read)
    reading.require_orderly(0)
    assert (reading.error is None) == (keep is kept_parts and where in ("nowhere", "itself"))


def test_a_link_that_is_named_by_a_file_address_is_not_read_without_end(tmp_path):
    (tmp_path / "m.safetensors").symlink_to("/dev/zero")
    reading = held(lambda: import_checkpoint(f"file://{tmp_path}/m.safetensors", tmp_path / "out"))
    assert reading.error is not None
    reading.require_orderly(0)


def test_a_fleet_reads_nothing_outside_its_folder(tmp_path):
    read = kept_fleet(tmp_path / "fleet")
    record = json.loads((tmp_path / "fleet" / "fleet.json").read_bytes())
    (tmp_path / "fleet" / record["tensors"]).rename(tmp_path / record["tensors"])
    (tmp_path / "fleet" / "fleet.json").write_text(json.dumps(record | {"tensors": f"../{record['tensors']}"}))
    with pytest.raises(CheckpointError, match="no fleet of ours"):
        read()
