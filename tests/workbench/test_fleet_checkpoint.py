"""A fleet whose files were made by somebody else, with the right sha256: refused in one sentence, or read as it is."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save

from models.checkpoint import CheckpointError
from workbench.fleet import Fleet

from ..reliability.mutations import ODD_TYPES, of_type
from .fleet_members import member


@pytest.fixture
def folder(tmp_path):
    fleet = Fleet([member(seed=1), member(seed=2)])
    fleet.run(3)
    fleet.save(tmp_path / "fleet")
    return tmp_path / "fleet"


def seal(folder, data: bytes | None = None, **fields) -> None:
    """Puts other bytes in place of the tensors, and their sha256 and other fields in the record."""
    record = json.loads((folder / "fleet.json").read_text())
    if data is not None:
        (folder / record["tensors"]).write_bytes(data)
        fields["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "fleet.json").write_text(json.dumps(record | fields))


@pytest.mark.parametrize("data", [b"", b"\x08", b"noise" * 10, *map(of_type, ODD_TYPES)])
def test_what_is_no_safetensors_file_is_named(folder, data):
    seal(folder, data)
    with pytest.raises(CheckpointError, match="step_00000003.safetensors is no state of that fleet .*; train the fleet again"):
        Fleet.resume(folder)


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("diverged", lambda tensor: None, "it has ema, first, initial, raw, second, expected diverged, ema, first"),
        ("surprise", lambda tensor: torch.zeros(3), "it has diverged, .*, surprise, expected diverged"),
        ("raw", lambda tensor: tensor[:1], r"raw has shape \(1, \d+\) of torch.float32, expected \(2, \d+\) of torch.float32"),
        ("ema", lambda tensor: tensor[:, :-1], r"ema has shape \(2, \d+\) of torch.float32, expected \(2, \d+\)"),
        ("first", lambda tensor: torch.zeros(()), r"first has shape \(\) of torch.float32, expected \(2, \d+\)"),
        ("raw", lambda tensor: tensor.int(), r"raw has shape .* of torch.int32, expected .* of torch.float32"),
        ("diverged", lambda tensor: tensor.float(), r"diverged has shape \(2,\) of torch.float32, expected .* of torch.int64"),
        ("diverged", lambda tensor: tensor + 4, r"a member diverged at a step that is not in 0 \.\. 3"),
        ("diverged", lambda tensor: tensor - 1, r"a member diverged at a step that is not in 0 \.\. 3"),
    ],
)
def test_a_state_that_is_not_the_fleets_is_named(folder, name, change, problem):
    tensors = load_file(folder / "step_00000003.safetensors")
    tensors[name] = change(tensors.get(name))
    seal(folder, save({key: tensor.contiguous() for key, tensor in tensors.items() if tensor is not None}))
    with pytest.raises(CheckpointError, match=f"is no state of that fleet \\({problem}.*; train the fleet again"):
        Fleet.resume(folder)


def test_one_members_state_is_not_read_as_that_of_two(folder):
    record = json.loads((folder / "fleet.json").read_text())
    seal(folder, configs=record["configs"][:1])
    with pytest.raises(CheckpointError, match=r"raw has shape \(2, \d+\) .* expected \(1, "):
        Fleet.resume(folder)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"step": 51, "tensors": "step_00000051.safetensors"}, "step 51 is beyond 50, the steps of its members"),
        ({"step": 10**30, "tensors": f"step_{10**30}.safetensors"}, "step 10{30} is beyond 50"),
        ({"step": 2}, "tensors 'step_00000003.safetensors' is not step_00000002.safetensors, the file of its step"),
        ({"configs": []}, "configs.* at least 1 item|at least 1 item"),
    ],
)
def test_a_step_that_cannot_be_is_named(folder, fields, problem):
    seal(folder, **fields)
    with pytest.raises(CheckpointError, match=f"is no fleet of ours \\(.*({problem}).*; train the fleet again"):
        Fleet.resume(folder)


def test_sound_files_sealed_anew_are_read(folder):
    seal(folder, save(load_file(folder / "step_00000003.safetensors")))
    assert Fleet.resume(folder).step == 3


def test_a_member_that_is_not_finite_is_marked_and_the_others_go_on(folder):
    tensors = load_file(folder / "step_00000003.safetensors")
    tensors["raw"][0, 5] = torch.nan
    seal(folder, save(tensors))
    fleet = Fleet.resume(folder)
    fleet.run(5)
    assert fleet.diverged == [4, None]
