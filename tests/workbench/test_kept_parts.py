"""Parts of a long measurement: made once, made again where damaged, and never mixed with those of other settings."""

import pytest
import torch
from safetensors.torch import save

from workbench.kept_parts import SETTINGS_FILE, KeptParts, computed_with

from ..reliability.mutations import ODD_TYPES, of_type


def test_a_part_is_made_once_and_read_from_then_on(tmp_path):
    made = []

    def make():
        made.append(True)
        return {"numbers": torch.arange(6.0).reshape(2, 3).T}  # not contiguous, as measurements come

    first = KeptParts(tmp_path / "kept", {"seed": 1, "lengths": (1, 2)}).get("raw", make)
    again = KeptParts(tmp_path / "kept", {"lengths": [1, 2], "seed": 1}).get("raw", make)
    assert torch.equal(first["numbers"], again["numbers"])
    assert torch.equal(again["numbers"], torch.tensor([[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]))
    assert len(made) == 1


@pytest.mark.parametrize("data", [b"half", *map(of_type, ODD_TYPES)])
def test_a_damaged_part_is_made_again(tmp_path, data):
    parts = KeptParts(tmp_path, {"seed": 1})
    parts.get("raw", lambda: {"numbers": torch.zeros(2)})
    (tmp_path / "raw.safetensors").write_bytes(data)
    assert torch.equal(parts.get("raw", lambda: {"numbers": torch.ones(2)})["numbers"], torch.ones(2))
    assert torch.equal(parts.get("raw", lambda: {})["numbers"], torch.ones(2))


def test_parts_of_other_settings_are_refused_by_name(tmp_path):
    KeptParts(tmp_path, {"seed": 1})
    with pytest.raises(ValueError, match=r"holds parts of another measurement \(seed 1, not 2\); give another folder"):
        KeptParts(tmp_path, {"seed": 2})


@pytest.mark.parametrize("data", [b"{", b"7", b"\xff", b"[" * 100_000])
def test_settings_that_nobody_can_read_are_named_and_left(tmp_path, data):
    (tmp_path / SETTINGS_FILE).write_bytes(data)
    with pytest.raises(
        ValueError, match="settings.json is damaged, so nobody knows what its parts hold; delete .* and measure"
    ):
        KeptParts(tmp_path, {"seed": 1})
    assert (tmp_path / SETTINGS_FILE).read_bytes() == data


def test_a_sound_part_of_another_measurement_is_made_again(tmp_path):
    theirs = KeptParts(tmp_path / "theirs", {"seed": 2})
    theirs.get("raw", lambda: {"numbers": torch.zeros(2)})
    ours = KeptParts(tmp_path / "ours", {"seed": 1})
    (tmp_path / "theirs" / "raw.safetensors").rename(tmp_path / "ours" / "raw.safetensors")
    assert torch.equal(ours.get("raw", lambda: {"numbers": torch.ones(2)})["numbers"], torch.ones(2))
    (tmp_path / "ours" / "raw.safetensors").write_bytes(save({"seven": torch.zeros(3)}))
    assert torch.equal(ours.get("raw", lambda: {"numbers": torch.ones(2)})["numbers"], torch.ones(2))


def test_of_a_device_parts_tell_the_kind_alone():
    assert computed_with("cuda:1") == computed_with(torch.device("cuda")) != computed_with("cpu")
