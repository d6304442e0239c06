"""1,000 spoilt files, always the same ones: each ends in one sentence or a load that is right, in time and in memory.

Importing a pickle that would run code is in tests/models/test_importers.py.
"""

import hashlib
import json
import shutil
import sqlite3
from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import save_file

from models.checkpoint import CheckpointError, find_checkpoint, read_card, read_trainer, read_weights, run_checkpoints
from models.hooked import load
from models.importers import import_checkpoint
from models.othello.board import board_of_size
from models.othello.games import generate
from models.othello.transcripts import read_transcripts, write_transcripts
from models.othello.wthor import read_wthor
from probes.board_probe import load_probe, save_probe
from workbench.cli import run as command
from workbench.comparison_table import read_table, typed, write_table
from workbench.config_options import config_from_options
from workbench.fleet import Fleet
from workbench.kept_parts import KeptParts
from workbench.search_storage import open_storage
from workbench.study import read_studies
from workbench.training import train

from ..models.othello.test_transcripts import move_bytes, wthor_bytes
from ..models.test_importers import mingpt_state
from ..probes.test_board_probe import probe_of
from ..workbench.fleet_members import member
from ..workbench.made_up_tables import made_up
from ..workbench.planted_study import planted_study
from .held_to_limits import held
from .mutations import BYTES, ELSEWHERE, JSONS, flip_bits, junk_field, lead_elsewhere, other_tensors
from .test_kill import train_words

BOARD = board_of_size(8)
FEW = 10
"""The quick version does one mutation in so many."""


def counts(all_of_them: int, few: int = FEW) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("count", [all_of_them // few, pytest.param(all_of_them, marks=pytest.mark.slow)])


def spoil_and_read(count: int, kind: str, spoil: Callable[[Random], str], read: Callable[[], object]) -> None:
    """Spoils and reads so many times, number by number with a generator of its own, and holds each read to the limits."""
    for _ in range(2):  # the first one fills caches
        sound = held(read)
    assert sound.error is None, sound.error
    ends, worst = Counter(), 0.0
    for number in range(count):
        what = spoil(Random(f"{kind} {number}"))
        reading = held(read)
        try:
            reading.require_orderly(max(sound.memory, 0))
        except AssertionError as fault:
            raise AssertionError(f"{kind} {number}, {what}: {fault}") from reading.error
        ends["read" if reading.error is None else type(reading.error).__name__] += 1
        worst = max(worst, reading.seconds)
    assert ends.total() - ends["read"] > count / 5  # they are spoilt indeed
    print(f"{kind}: {count} mutations, {dict(ends)}, slowest {worst:.2f} s")  # noqa: T201


@pytest.fixture(scope="module")
def sound_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert command(train_words(folder, 2, 1)) == 0
    return folder


def reseal(folder: Path, name: str) -> None:
    """Gives the card the sha256 that a file has now, as an attacker would."""
    card = json.loads((folder / "card.json").read_bytes())
    card["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))


def read_all(folder: Path) -> None:
    """All that a checkpoint holds, through the front door."""
    found = find_checkpoint(folder)
    card = read_card(found)
    for weights in card.weights:
        load(found, weights)
    read_trainer(found)


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


class Call:
    """Pickled, a call of a function with some arguments, and what its result is updated by."""

    def __init__(self, function: Callable, *arguments: object, state: object = None):
        self.called = (function, arguments, state)

    def __reduce__(self):
        return self.called


def shared_weights() -> dict[str, torch.Tensor]:
    """77 MB of weights in a file of half a megabyte: the matrices of 100 layers are the same ones."""
    one = mingpt_state(layers=1, width=128, mlp=512, buffers=False)
    layers = {
        name.replace(".0.", f".{layer}.", 1): tensor for layer in range(100) for name, tensor in one.items() if ".0." in name
    }
    return one | layers


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("content", [lambda: Call(bytearray, 1 << 29), lambda: {"x": Call(set, [1])}, shared_weights])
def test_a_small_foreign_file_fills_no_memory(tmp_path, content, old_format):
    file = tmp_path / "m.pth"
    torch.save(content(), file, _use_new_zipfile_serialization=not old_format)
    reading = held(lambda: import_checkpoint(str(file), tmp_path / "out"))
    assert reading.error is not None
    reading.require_orderly(file.stat().st_size)


SECOND = "holds one object in two places, expected dense tensors"
NO_DICTIONARY = "fills a dictionary by what is none, expected dense tensors"


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([Call(OrderedDict, one) for one in [dict.fromkeys(range(10_000))] * 100], NO_DICTIONARY),
        ([[one, one] for one in [[1, 2]]], SECOND),
        (Call(OrderedDict, torch.zeros(1, 2).expand(1 << 20, 2)), NO_DICTIONARY),
        (Call(OrderedDict, state=torch.zeros(1, 2).expand(1 << 20, 2)), NO_DICTIONARY),
    ],
    ids=["a dictionary copied", "a list twice", "a tensor for a list", "a tensor for attributes"],
)
def test_nor_what_it_repeats(tmp_path, content, problem, old_format):
    file = tmp_path / "m.pth"
    torch.save(content, file, _use_new_zipfile_serialization=not old_format)
    reading = held(lambda: import_checkpoint(str(file), tmp_path / "out"))
    assert problem in str(reading.error)
    reading.require_orderly(file.stat().st_size)


BYTEARRAY = b"cbuiltins\nbytearray\n\x8a\x05" + (1 << 29).to_bytes(5, "little") + b"\x85R."
TUPLES = b"}K\x01" + b"q\x01h\x01\x86" * 40 + b"K\x02s."
"""As a key a tuple that holds another one twice, and that one a third twice, and so on: 2 ** 40 numbers to hash."""


@pytest.mark.parametrize(("data", "problem"), [(BYTEARRAY, "holds 'builtins bytearray'"), (TUPLES, SECOND)])
def test_nor_does_a_bare_pickle(tmp_path, data, problem):
    (tmp_path / "m.pth").write_bytes(b"\x80\x02" + data)
    reading = held(lambda: import_checkpoint(str(tmp_path / "m.pth"), tmp_path / "out"))
    assert problem in str(reading.error)
    reading.require_orderly(0)


def test_a_fleet_reads_nothing_outside_its_folder(tmp_path):
    read = kept_fleet(tmp_path / "fleet")
    record = json.loads((tmp_path / "fleet" / "fleet.json").read_bytes())
    (tmp_path / "fleet" / record["tensors"]).rename(tmp_path / record["tensors"])
    (tmp_path / "fleet" / "fleet.json").write_text(json.dumps(record | {"tensors": f"../{record['tensors']}"}))
    with pytest.raises(CheckpointError, match="no fleet of ours"):
        read()


def test_a_changed_weight_is_never_loaded(tmp_path, sound_run):
    """Every byte of the numbers counts: one bit flipped in each of 50 places."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(run_checkpoints(sound_run)[-1], folder)
    path, random = folder / "raw.safetensors", Random(1)
    data = path.read_bytes()
    for _ in range(50):
        spoilt = bytearray(data)
        spoilt[random.randrange(len(data))] ^= 1 << random.randrange(8)
        path.write_bytes(spoilt)
        reading = held(lambda: read_weights(folder, "raw"))
        assert reading.error is not None
        reading.require_orderly(0)


@counts(300)
def test_spoilt_checkpoints(tmp_path, sound_run, count):
    """Of the weights and the trainer's files; in half of the cases the card was given the new sha256."""
    sound, run = run_checkpoints(sound_run)[-1], tmp_path / "run"
    folder = run / "checkpoints" / sound.name
    shutil.copytree(sound_run, run)
    states = {weights: read_weights(sound, weights) for weights in ("raw", "ema", "bema")}
    resealed = False

    def spoil(random: Random) -> str:
        nonlocal resealed
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sound, folder)
        name = random.choice(("raw.safetensors", "ema.safetensors", "bema.safetensors", "trainer.safetensors", "trainer.json"))
        path, resealed = folder / name, False
        if random.random() < 0.1:
            lead_elsewhere(path, random.choice(ELSEWHERE))
            return f"{name} leads elsewhere"
        act = random.choice(JSONS if name.endswith("json") else (*BYTES, other_tensors, other_tensors, other_tensors))
        path.write_bytes(act(path.read_bytes(), random))
        if resealed := random.random() < 0.5:
            reseal(folder, name)
        return f"{name} {act.__name__} {'resealed' if resealed else ''}"

    def read() -> None:
        read_all(run)
        if not resealed:  # then it must be what was saved
            for weights, state in states.items():
                found = read_weights(folder, weights)
                assert all(torch.equal(found[name], tensor) for name, tensor in state.items())

    spoil_and_read(count, "checkpoints", spoil, read)


@counts(50)
def test_runs_that_go_on_from_spoilt_checkpoints(tmp_path, sound_run, count):
    """Sound files of another training, and any JSON and tensors, in the trainer's place, with the right sha256."""
    sound, run = run_checkpoints(sound_run)[-1], tmp_path / "run"
    words = train_words(run, 3, 1)

    def spoil(random: Random) -> str:
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(sound_run, run)
        folder = run / "checkpoints" / sound.name
        what = random.choice(("trainer.json", "trainer.safetensors", "metrics.jsonl", "run.json"))
        path = folder / what if what.startswith("trainer") else run / what
        act = random.choice(JSONS if what.endswith("json") else BYTES if what.endswith("jsonl") else (other_tensors,))
        path.write_bytes(act(path.read_bytes(), random))
        if what.startswith("trainer"):
            reseal(folder, what)
        return f"{what} {act.__name__}"

    options = {word[2:].replace("-", "_"): value for word, value in zip(words[2::2], words[3::2], strict=True)}
    config = config_from_options("set-complement", {name: value for name, value in options.items() if name != "out"})
    shutil.copytree(sound_run, run)
    spoil_and_read(count, "runs gone on with", spoil, lambda: train(config, run))


@counts(200)
def test_spoilt_cards(tmp_path, sound_run, count):
    """Fields, depth and bytes; the card of another model; names with `..`; what is no plain file."""
    sound, run = run_checkpoints(sound_run)[-1], tmp_path / "run"
    folder = run / "checkpoints" / sound.name
    shutil.copytree(sound_run, run)
    other = tmp_path / "other"
    assert command([*train_words(other, 1, 1), "--width", "12", "--layers", "2"]) == 0
    other_card = run_checkpoints(other)[-1] / "card.json"

    def spoil(random: Random) -> str:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sound, folder)
        path = folder / "card.json"
        if (way := random.random()) < 0.05:
            shutil.copyfile(other_card, path)
            return "swapped"
        if way < 0.1:
            card = json.loads(path.read_bytes())
            card["sha256"]["../raw.safetensors"] = card["sha256"].pop("raw.safetensors")
            path.write_text(json.dumps(card | {"name": "../../up"}))
            return "names with .."
        if way < 0.15:
            lead_elsewhere(path, random.choice(ELSEWHERE))
            return "leads elsewhere"
        act = random.choice(JSONS)
        path.write_bytes(act(path.read_bytes(), random))
        return act.__name__

    spoil_and_read(count, "cards", spoil, lambda: (read_card(folder), read_all(folder)))


@counts(100, few=25)  # Optuna tries a database that fails five times
def test_spoilt_studies(tmp_path, count):
    """Bytes of the database, and the JSON that its rows hold."""
    file, spoilt = tmp_path / "sound.db", tmp_path / "spoilt.db"
    url = f"sqlite:///{file}"
    planted_study(6, open_storage(url)).user_attrs  # noqa: B018
    shutil.copyfile(file, spoilt)

    def spoil(random: Random) -> str:
        shutil.copyfile(file, spoilt)
        if random.random() < 0.5:
            act = random.choice(BYTES)
            spoilt.write_bytes(act(file.read_bytes(), random))
            return act.__name__
        table = random.choice(("trial_user_attributes", "study_user_attributes"))
        with sqlite3.connect(spoilt) as connection:
            rows = connection.execute(f"select rowid, value_json from {table}").fetchall()
            row, value = random.choice(rows)
            act = random.choice((junk_field, flip_bits))
            inner = json.loads(value)
            if isinstance(inner, str):  # a result is JSON within JSON
                value = json.dumps(act(inner.encode(), random).decode(errors="replace"))
            elif isinstance(inner, dict):
                value = act(value.encode(), random).decode(errors="replace")
            else:
                value = random.choice(('"x"', "null", "-1", "1e9", "[]"))
            connection.execute(f"update {table} set value_json = ? where rowid = ?", (value, row))
        return f"{table} {act.__name__} {value[:80]}"

    spoil_and_read(count, "studies", spoil, lambda: read_studies(f"sqlite:///{spoilt}"))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@counts(75)
def test_spoilt_tables(tmp_path, count, kind):
    written = dict(zip(("csv", "parquet"), write_table(typed(made_up().assign(certified_lengths=2)), tmp_path), strict=True))[
        kind
    ]
    sound = written.read_bytes()

    def words_for_numbers(data: bytes, random: Random) -> bytes:
        lines = data.decode().splitlines()
        at = random.randrange(len(lines))
        cells = lines[at].split(",")
        cells[random.randrange(len(cells))] = random.choice(("x", "", "1e999", "-1", '"', "inf", "9" * 400, "\0", "1.5"))
        lines[at] = ",".join(cells)
        return "\n".join(lines).encode()

    def spoil(random: Random) -> str:
        if written.is_dir() and not written.is_symlink():
            written.rmdir()
        written.unlink(missing_ok=True)
        written.write_bytes(sound)
        if random.random() < 0.05:
            lead_elsewhere(written, random.choice(ELSEWHERE))
            return "leads elsewhere"
        act = random.choice((*BYTES, words_for_numbers, words_for_numbers) if kind == "csv" else BYTES)
        written.write_bytes(act(sound, random))
        return act.__name__

    spoil_and_read(count, f"{kind} tables", spoil, lambda: read_table(written))


@counts(100)
def test_spoilt_transcripts(count):
    sound = write_transcripts(generate(BOARD, 1, 0, 20), BOARD).encode()
    data = sound

    def spoil(random: Random) -> str:
        nonlocal data
        act = random.choice(BYTES)
        data = act(sound, random)
        return act.__name__

    def read() -> None:
        games = read_transcripts(data.decode("latin-1"), BOARD)
        text = write_transcripts(games.tokens, BOARD)
        assert text.split() == "".join(data.decode("latin-1").split(" ")).lower().split()

    spoil_and_read(count, "transcripts", spoil, read)


@counts(100)
def test_spoilt_wthor_files(count):
    transcripts = write_transcripts(generate(BOARD, 3, 0, 20), BOARD).split()
    sound = wthor_bytes([move_bytes(text) for text in transcripts])
    data = sound

    def spoil(random: Random) -> str:
        nonlocal data
        act = random.choice(BYTES)
        data = act(sound, random)
        return act.__name__

    def read() -> None:
        file = read_wthor(data)
        assert write_transcripts(file.games.tokens, BOARD).split() == transcripts or data[16:] != sound[16:]

    spoil_and_read(count, "WTHOR files", spoil, read)
