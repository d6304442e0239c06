"""What is installed: sdist and wheel hold all that is ours, and the wheel works in an environment away from the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("models", "probes", "workbench")
UV = Path(sys.executable).parent / "uv"
NOTEBOOKS_IN_WHEEL = "legal_tokens_workbench-{version}.data/data/share/legal-tokens-workbench/notebooks"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def ran(command: list, folder: Path) -> str:
    """What a command printed, run in a folder without anything of this process's Python."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """The sdist and the wheel of a copy of the checkout, since a build writes beside what it reads."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    for name in (*PACKAGES, "notebooks"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build(source, folder / "dist", "--sdist", "--wheel")
    (sdist,), (wheel,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    return sdist, wheel


def build(source: Path, out: Path, *which: str) -> None:
    """By the setuptools that torch brings along: nothing is fetched."""
    ran([UV, "build", *which, "--no-build-isolation", "--python", sys.executable, "--out-dir", out, source], out.parent)


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """`bin` of an empty environment with the wheel alone, which borrows the other packages of this one, not the checkout."""
    environment = tmp_path_factory.mktemp("installed") / "environment"
    ran([UV, "venv", "--quiet", "--python", sys.executable, environment], environment.parent)
    python = environment / "bin" / "python"
    ran([UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, built[1]], environment.parent)
    (own,) = (environment / "lib").glob("python*/site-packages")
    (own / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its .pth files, our editable one, are not read
    return environment / "bin"


def hashes(wheel: Path) -> dict[str, int]:
    """The CRC of every file in a wheel, by name, but for its list of them."""
    with ZipFile(wheel) as archive:
        return {entry.filename: entry.CRC for entry in archive.infolist() if not entry.filename.endswith("/RECORD")}


def ours(*suffixes: str) -> set[str]:
    """Our packages' files of these suffixes, as the wheel names them."""
    files = {path for package in PACKAGES for suffix in suffixes for path in (ROOT / package).rglob(f"*{suffix}")}
    return {path.relative_to(ROOT).as_posix() for path in files}


def test_the_wheel_holds_code_zoo_notebooks_and_front_ends(built):
    names = set(hashes(built[1]))
    zoo = {path.relative_to(ROOT).as_posix() for path in (ROOT / "models" / "zoo").rglob("*") if path.is_file()}
    front_ends = ours(".js", ".css")
    notebooks = {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert len(zoo) > 100 and len(front_ends) >= 2 and len(notebooks) >= 8
    assert zoo | front_ends | ours(".py") <= names
    folder = NOTEBOOKS_IN_WHEEL.format(version=built[1].name.split("-")[1])
    assert {f"{folder}/{name}" for name in notebooks} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith(("tests/", "benchmarks/"))]


def test_the_sdist_builds_the_same_wheel(built, tmp_path):
    sdist, wheel = built
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml"} | ours(".py", ".js", ".css", ".safetensors") <= names
    build(sdist, tmp_path / "again", "--wheel")
    (again,) = (tmp_path / "again").glob("*.whl")
    assert again.name == wheel.name
    assert hashes(again) == hashes(wheel)


def test_it_works_away_from_the_checkout(installed, tmp_path):
    where = ran([installed / "python", "-c", "import workbench, models, probes; print(workbench.__file__)"], tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
    assert not list(tmp_path.iterdir())
    runs = len(list((ROOT / "models" / "zoo").glob("*/checkpoints")))
    assert f"bundled checkpoints  {runs} " in ran([installed / "workbench", "info"], tmp_path)
    assert len(ran([installed / "workbench", "zoo"], tmp_path).splitlines()) == runs
    name, few = "set-complement-v16-none-seed0", ["--sequences", "20", "--lengths", "1:4", "--format", "html"]
    ran([installed / "workbench", "compare", name, *few, "--out", "compared"], tmp_path)
    assert name in (tmp_path / "compared" / "comparison.csv").read_text()
    assert (tmp_path / "compared" / "report.html").stat().st_size > 10_000


def test_the_lab_finds_its_notebooks_and_gives_a_copy_to_work_in(installed, tmp_path):
    found = ran(
        [installed / "python", "-c", "from workbench.commands import lab; print(lab.NOTEBOOKS); print(lab._notebooks())"],
        tmp_path,
    )
    share, copy = map(Path, found.splitlines())
    assert share.is_relative_to(installed.parent)
    assert copy == Path("notebooks")
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert (tmp_path / copy / notebook.name).read_bytes() == notebook.read_bytes()
