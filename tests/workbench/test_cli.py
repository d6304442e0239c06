import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import time

import pytest
import torch

from models.checkpoint import bundled_names, find_checkpoint, read_card, run_checkpoints
from models.config import TaskConfig
from models.othello.task import OthelloTask
from models.othello.transcripts import write_transcripts
from workbench.cli import run
from workbench.commands import info
from workbench.commands.probe import app as probe_app
from workbench.comparison import compare
from workbench.comparison_table import write_table
from workbench.config_options import command_options, config_from_options, config_options

from ..models.othello.test_transcripts import move_bytes, wthor_bytes

SMALL = ["--vocab", "8", "--width", "16", "--head-width", "16", "--batch", "16", "--steps", "20", "--save-every", "10"]


@pytest.mark.parametrize(
    "options",
    [
        {"vocab": 9},
        {"vocab": 12, "dropout_attention": 0.3, "targets": "soft", "save_at": "1,2", "final_norm": True, "norm": "branch"},
        {"vocab": 5, "averaging_schedule": "power", "averaging_kappa": 0.6, "train_length": 4, "seed": 11},
    ],
)
def test_options_and_configuration_are_inverse(options):
    config = config_from_options("set-complement", options)
    words = command_options(config)
    flags = {option.flag: option.parameter for option in config_options()}
    given = {}
    while words:
        flag, *words = words
        if flag == "--final-norm":
            given["final_norm"] = True
        else:
            given[flags[flag]], *words = words
    assert config_from_options("set-complement", given) == config


def test_othello_options_and_the_negative_flag():
    config = config_from_options("othello", {"final_norm": False, "board": 6})
    assert config.task == TaskConfig(name="othello", board=6)
    assert config.train_length == 31
    assert "--no-final-norm" in command_options(config)


def test_every_option_has_help():
    assert all(option.field.description for option in config_options())


def test_train_and_go_on(tmp_path, capsys):
    assert run(["train", "set-complement", "--out", str(tmp_path / "run"), *SMALL]) == 0
    assert run(["train", "set-complement", "--out", str(tmp_path / "run"), *SMALL, "--steps", "30"]) == 0
    assert read_card(run_checkpoints(tmp_path / "run")[-1]).step == 30


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "set-complement", "--out", "x"], 2, "give vocab (--vocab N, N >= 3)"),
        (
            ["train", "set-complement", "--out", "x", "--vocab", "2"],
            2,
            "--vocab: Input should be greater than or equal to 3 (got 2)",
        ),
        (["train", "set-complement", "--out", "x", "--vocab", "8", "--dropout-attention", "1.5"], 2, "--dropout-attention"),
        (["train", "set-complement", "--out", "x", "--vocab", "8", "--save-at", "1,b"], 2, "whole numbers such as 100,200,500"),
        (
            ["train", "set-complement", "--out", "x", "--vocab", "8", "--train-length", "8"],
            2,
            "train length 8 is longer than 7",
        ),
        (["train", "chess", "--out", "x"], 2, "'chess' is not one of"),
        (["train", "othello", "--out", "x", "--vocab", "61"], 2, "the othello task takes no vocab; give --board"),
        (["nonsense"], 2, "No such command 'nonsense'"),
        (["import", "absent.pth", "--out", "x"], 1, "cannot open absent.pth"),
        (["evaluate", "absent"], 1, "no checkpoint at 'absent'"),
        (["evaluate", "set-complement-v16-none-seed0", "--lengths", "3:99"], 1, "length 16: expected lengths in 1 .. 15"),
        (["evaluate", "set-complement-v16-none-seed0", "--lengths", "a:b"], 2, "whole numbers such as 1:59"),
        (["compare", "absent"], 1, "absent"),
        (["certify", "othello-mini-none"], 1, "this probe reads set-complement models"),
        (["games", "absent.txt"], 1, "absent.txt"),
        (["bundle", "absent", "--out", "x"], 1, "absent has no checkpoints; give a run"),
        (["bundle", "absent", "--out", "x", "--steps", "a"], 2, "whole numbers such as 100,1000"),
    ],
)
def test_errors_are_one_sentence_and_an_exit_code(tmp_path, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_no_text_is_refused_before_any_work(tmp_path, capsys):
    assert run(["train", "set-complement", "--vocab", "8", "--out", f"{tmp_path}/caf\udce9"]) == 2
    assert capsys.readouterr().err.endswith("caf\\udce9' is no UTF-8, expected text; give another name\n")
    assert not any(tmp_path.iterdir())


WRITERS = [
    *["train set-complement --vocab 8 --out", "compare NAME --out", "ablate NAME --out", "bundle NAME --out", "demo --out"],
    *["probe displacement NAME --out", "certify NAME --out", "certify NAME --json", "evaluate NAME --json", "bound --out"],
    *["figures --paper --out", "study set-complement-v16 --out", "import NAME.pth --out"],
]


@pytest.mark.parametrize("command", WRITERS)
def test_a_name_that_is_too_long_is_refused_before_any_work(tmp_path, capsys, command):
    long, name = str(tmp_path / ("x" * 300)), str(find_checkpoint("set-complement-v16-none-seed0").parents[1])
    assert run([*command.replace("NAME", name).split(), long]) == 1
    told = capsys.readouterr()
    assert told.err == f"workbench: cannot use {long}: File name too long; give a shorter name\n" and told.out == ""
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("command", WRITERS)
@pytest.mark.parametrize("place", ["file", "file/deep", "link"])
def test_what_is_no_folder_in_place_of_one_is_refused_before_any_work(tmp_path, capsys, command, place):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    path = tmp_path / place / ("x.json" if command.endswith("--json") else "")
    name = str(find_checkpoint("set-complement-v16-none-seed0").parents[1])
    assert run([*command.replace("NAME", name).split(), str(path)]) == 2
    told, there = capsys.readouterr(), tmp_path / place.removesuffix("/deep")
    assert f"cannot write {path}: {there} is a file, expected a folder; give another" in told.err and told.out == ""
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link"}


@pytest.mark.parametrize("probe", [command.name for command in probe_app.registered_commands])
def test_what_is_no_folder_in_place_of_a_probes_own_is_refused_before_any_work(tmp_path, monkeypatch, capsys, probe):
    monkeypatch.chdir(tmp_path)
    (tmp_path / probe).write_text("mine")
    assert run(["probe", probe, "no-checkpoint"]) == 2
    assert f"cannot write {probe}: {probe} is a file, expected a folder; give another" in capsys.readouterr().err


def test_a_closed_standard_error_stops_nothing(tmp_path):
    options = "--vocab 8 --width 8 --head-width 8 --steps 3"
    command = f"'{sys.executable}' -m workbench train set-complement {options} --out '{tmp_path}/run' 2>&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == 0 and "trained" in done.stdout


def test_debug_shows_the_traceback(tmp_path, capsys):
    assert run(["import", str(tmp_path / "absent.pth"), "--out", "x", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_bundle_keeps_the_weights_in_bfloat16_without_the_trainer(tmp_path, capsys):
    run(["train", "set-complement", "--out", str(tmp_path / "run"), *SMALL])
    assert run(["bundle", str(tmp_path / "run"), "--out", str(tmp_path / "small"), "--steps", "20"]) == 0
    (folder,) = run_checkpoints(tmp_path / "small")
    assert {path.name for path in folder.iterdir()} == {"card.json", "raw.safetensors", "ema.safetensors", "bema.safetensors"}
    original = run_checkpoints(tmp_path / "run")[-1]
    assert (folder / "raw.safetensors").stat().st_size < 0.7 * (original / "raw.safetensors").stat().st_size
    assert run(["train", "set-complement", "--out", str(tmp_path / "small"), *SMALL, "--steps", "30"]) == 1
    assert "no trainer state" in capsys.readouterr().err


def test_games_are_checked_counted_and_written(tmp_path, capsys):
    task = OthelloTask()
    text = write_transcripts(task.sequences(0, 0, 3), task.board)
    (tmp_path / "games.txt").write_text(text + "f5a1\n")
    assert run(["games", str(tmp_path / "games.txt")]) == 1
    assert "line 4" in capsys.readouterr().err
    assert run(["games", str(tmp_path / "games.txt"), "--skip-bad", "--out", str(tmp_path / "sound.txt")]) == 0
    assert "3 games, all legal to the end; 1 left out" in capsys.readouterr().out
    assert (tmp_path / "sound.txt").read_text() == text


def test_games_of_an_archive_are_written_as_text(tmp_path, capsys):
    task = OthelloTask()
    text = write_transcripts(task.sequences(0, 0, 3), task.board)
    games = [move_bytes(game) for game in text.split()]
    (tmp_path / "games.WTB").write_bytes(wthor_bytes([*games, games[0][:5]]))
    assert run(["games", str(tmp_path / "games.WTB"), "--out", str(tmp_path / "all.txt")]) == 1
    assert "cut off" in capsys.readouterr().err and not (tmp_path / "all.txt").exists()
    assert run(["games", str(tmp_path / "games.WTB"), "--skip-bad", "--out", str(tmp_path / "sound.txt")]) == 0
    assert "3 games, all legal to the end; 1 left out" in capsys.readouterr().out
    assert (tmp_path / "sound.txt").read_text() == text


@pytest.mark.parametrize(
    ("name", "options", "code", "message"),
    [
        ("games.wtb", ["--board", "6"], 2, "a .wtb archive is 8x8 in its own notation; leave out --board and --transposed"),
        ("games.wtb", ["--transposed"], 2, "leave out --board and --transposed"),
        ("games.txt", [], 1, "is not text; give a .wtb archive, or UTF-8 text with one game a line"),
    ],
)
def test_games_of_another_kind_than_the_options_say_are_refused(tmp_path, capsys, name, options, code, message):
    (tmp_path / name).write_bytes(b"\xff\xfe f5d6")
    assert run(["games", str(tmp_path / name), *options, "--out", str(tmp_path / "out.txt")]) == code
    assert message in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_games_of_more_bytes_than_can_be_games_are_refused(tmp_path, capsys):
    for name in ("games.txt", "games.wtb"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(1 << 40)  # sparse: no byte of it is on the disk
        assert run(["games", str(tmp_path / name)]) == 1
        assert "1099511627776 bytes, expected at most 4294967296; give a file of games" in capsys.readouterr().err


def test_nothing_is_bundled_of_a_run_without_its_settings(tmp_path, capsys):
    run(["train", "set-complement", "--out", str(tmp_path / "run"), *SMALL])
    (tmp_path / "run" / "run.json").unlink()
    assert run(["bundle", str(tmp_path / "run"), "--out", str(tmp_path / "small")]) == 1
    assert "run.json" in capsys.readouterr().err and not (tmp_path / "small").exists()


def test_a_table_without_rows_is_no_empty_success(tmp_path, capsys):
    write_table(compare(["set-complement-v16-none-seed0"], sequences=2).iloc[:0], tmp_path)
    assert run(["figures", str(tmp_path / "comparison.csv"), "--out", str(tmp_path / "figures")]) == 1
    assert "has no row, so there is nothing to draw" in capsys.readouterr().err


def test_what_is_no_plain_file_is_not_replaced_by_a_result(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    (tmp_path / "folder").mkdir()
    certify = ["certify", "set-complement-v16-none-seed0", "--json"]
    for name in ("pipe", "link"):
        assert run([*certify, str(tmp_path / name)]) == 2
        assert "it is no plain file" in capsys.readouterr().err
    assert run([*certify, str(tmp_path / "folder")]) == 2
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink() and (tmp_path / "folder").is_dir()


def test_info_names_what_is_missing_and_its_remedy(monkeypatch, capsys):
    monkeypatch.setattr(info, "PACKAGES", ("no-such-package",))
    monkeypatch.setattr(info, "OPTIONAL", {"nor-this-one": "wishes: pip install luck", "pytest": "tests: pip install pytest"})
    assert run(["info"]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["no-such-package", "missing; install the package again with its dependencies"] in lines
    assert ["nor-this-one", "not installed; for wishes: pip install luck"] in lines
    assert "pytest" not in dict(lines)


def test_evaluate_writes_the_json_that_is_promised(tmp_path, capsys):
    file = tmp_path / "e.json"
    assert run(["evaluate", "set-complement-v16-none-seed0", "--sequences", "50", "--weights", "ema", "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert result["lengths"] == list(range(1, 16))
    assert (result["weights"], result["sequences"]) == ("ema", 50)
    for name in ("illegal_mass", "illegal_top1", "total_variation"):
        low, value, high = (result[key][name] for key in ("ci_low", "metrics", "ci_high"))
        assert len(value) == 15
        assert all(a <= b <= c for a, b, c in zip(low, value, high, strict=True))


def test_compare_and_figures_from_its_table(tmp_path, capsys):
    names = ["set-complement-v16-none-seed0", "set-complement-v32-none-seed0"]
    assert (
        run(["compare", *names, "--sequences", "20", "--lengths", "1:4,8", "--out", str(tmp_path / "out"), "--format", "html"])
        == 0
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "comparison.csv",
        "comparison.parquet",
        "figures",
        "report.html",
    }
    assert run(["figures", str(tmp_path / "out" / "comparison.csv"), "--out", str(tmp_path / "again"), "--format", "html"]) == 0
    assert (tmp_path / "again" / "set-complement-v16-by-length.html").is_file()


def test_the_bundled_v16_model_is_certified_at_every_length(tmp_path, capsys):
    for weights in ("raw", "ema", "bema"):
        assert run(["certify", "set-complement-v16-none-seed0", "--weights", weights, "--json", str(tmp_path / "c.json")]) == 0
        result = json.loads((tmp_path / "c.json").read_text())
        assert result["lengths"] == list(range(1, 16))
        assert set(result["verdict"]) == {"certified"}
        assert result["counterexample"] == [None] * 15
        assert min(result["worst_gap"]) > 0


def test_zoo_lists_the_bundled_checkpoints(capsys):
    assert run(["zoo"]) == 0
    assert "set-complement-v32-none-seed0  set-complement, trained to length 8, dropout none" in capsys.readouterr().out


def test_help_answers_in_half_a_second():
    command = [sys.executable, "-m", "workbench", "--help"]
    subprocess.run(command, check=True, capture_output=True)  # the first run compiles
    times = []
    for _ in range(5):
        start = time.process_time(), os.times().children_user + os.times().children_system
        subprocess.run(command, check=True, capture_output=True)
        times.append(os.times().children_user + os.times().children_system - start[1])
    assert min(times) <= 0.5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_run_that_the_same_command_goes_on_with(tmp_path, number):
    words = [
        sys.executable,
        "-m",
        "workbench",
        *shlex.split("train set-complement --vocab 8 --batch 16 --save-every 100000 --steps 1000"),
    ]
    words += ["--width", "16", "--head-width", "16", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not metrics.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the same command goes on" in output
    step = read_card(run_checkpoints(tmp_path / "run")[-1]).step
    assert 0 < step < 1000
    subprocess.run(words, check=True, capture_output=True)
    assert read_card(run_checkpoints(tmp_path / "run")[-1]).step == 1000


@pytest.mark.parametrize("module", ["workbench.cli", "typer", "workbench.commands.compare", "workbench.error_sentence"])
def test_ctrl_c_while_the_command_is_still_imported_ends_it_quietly(module):
    interrupted = (
        "import os, signal, sys\n"
        "class CtrlC:\n"
        "    def find_spec(name, *_):\n"
        f"        if name == '{module}': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, CtrlC)\n"
        "from workbench.__main__ import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", interrupted, "zoo"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_in_compiled_code_is_one(monkeypatch, capsys):
    """Numba raises this of a Ctrl-C while it calls compiled code, a moment too short to be hit by a test."""

    def interrupted(*_, **__):
        raise SystemError("returned a result with an exception set") from KeyboardInterrupt()

    monkeypatch.setattr("probes.certificate.certify", interrupted)
    assert run(["certify", "set-complement-v16-none-seed0"]) == 130
    assert "unexpected" not in capsys.readouterr().err


def test_info_tells_versions_and_the_remedy_for_what_is_missing(capsys, monkeypatch):
    assert run(["info"]) == 0
    told = capsys.readouterr().out
    assert f"torch  {torch.__version__.split('+')[0]}" in told and "python  " + platform.python_version() in told
    assert f"bundled checkpoints  {len(bundled_names())}" in told
    monkeypatch.setenv("BROWSER_PATH", "/nowhere")
    assert run(["info"]) == 0
    assert "browser  none; PDF, SVG and PNG need Chrome or Chromium" in capsys.readouterr().out
