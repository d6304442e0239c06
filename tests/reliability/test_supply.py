"""What is installed is what was pinned, file by file, and under which licence it is."""

import hashlib
import re
import subprocess
import sys
import zipfile
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
UV = [sys.executable, "-m", "uv"]


def pins(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", text, re.MULTILINE))


def wheel(folder: Path, name: str, needs: str = "") -> str:
    """Writes an empty package of version 1, and returns its sha256."""
    file, info = folder / f"{name}-1-py3-none-any.whl", f"{name}-1.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{needs}")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_every_pin_but_torch_has_its_hashes_and_no_registry_is_named():
    plain, hashed = (ROOT / "constraints.txt").read_text(), (ROOT / "constraints-hashed.txt").read_text()
    lens4 = (ROOT / "constraints-lens4.txt").read_text()
    assert pins(hashed) == pins(plain), "constraints.txt was changed; run .ci/hashes"
    entries = re.split(r"\n(?=\S)", hashed.strip() + "\n" + lens4.partition("\n")[2].strip())
    unhashed = [
        entry for entry in entries if not re.fullmatch(r"[a-z0-9._-]+==\S+( \\\n    --hash=sha256:[0-9a-f]{64})+", entry)
    ]
    assert unhashed == [f"torch=={pins(plain)['torch']}"]  # its build is chosen when it is installed
    assert "://" not in plain + hashed + lens4


def test_no_kernel_builds_a_grammar_before_it_shows_a_figure():
    """What plotly's widgets import looks for this package, which takes 3 s; jsonschema wants it from 4.25 on."""
    pinned = pins((ROOT / "constraints.txt").read_text())
    assert "rfc3987-syntax" not in pinned and Version(pinned["jsonschema"]) < Version("4.25")


def test_all_that_setup_installs_is_pinned():
    """What this package wants and what that wants in turn; CUDA's libraries come with a build of torch."""
    pinned = pins((ROOT / "constraints.txt").read_text())
    asked = [Requirement("legal-tokens-workbench[dev,interop]")]
    seen: set[tuple[str, frozenset[str]]] = set()
    while asked:
        wanted = asked.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in seen or re.match("nvidia-|cuda-|triton$", name):
            continue
        seen.add((name, frozenset(wanted.extras)))
        asked += [
            inner
            for inner in map(Requirement, requires(name) or ())
            if not inner.marker or any(inner.marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras))
        ]
    names = {name for name, _ in seen} - {"legal-tokens-workbench"}
    assert len(names) > 200
    assert {name: Version(version(name)).public for name in names} == {name: pinned.get(name) for name in names}


def test_every_installation_of_the_makefile_is_held_to_hashes():
    words = ["make", "--dry-run", "--always-make", "setup", "bench", "test-lens4"]
    done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
    installations = [line for line in done.stdout.splitlines() if "pip install" in line]
    assert len(installations) == 4
    for line in installations:
        by_uv = "-b constraints-hashed.txt" in line and re.search(r"-c \S*constraints-hashed\.txt", line)
        assert by_uv or "--require-hashes" in line, line


@pytest.mark.parametrize("how", ["asked for", "wanted by another", "wanted to build"])
def test_uv_refuses_a_file_of_another_hash(tmp_path, how):
    """A wheel made here, with the hash it has and with another one, as `make setup` would install it."""
    right = wheel(tmp_path, "tiny")
    wheel(tmp_path, "other", "Requires-Dist: tiny\n")
    source = tmp_path / "source"
    source.mkdir()
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["tiny"]\nbuild-backend = "tiny"\n[project]\nname = "source"\nversion = "1"\n'
    )
    wanted = {"asked for": "tiny", "wanted by another": "other", "wanted to build": str(source)}[how]
    subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, str(tmp_path / "v")], check=True)
    for digest, accepted in (("0" * 64, False), (right, True)):
        (tmp_path / "hashed.txt").write_text(f"tiny==1 --hash=sha256:{digest}\n")
        words = ["pip", "install", "--quiet", "--python", str(tmp_path / "v"), "--no-index", "--find-links", str(tmp_path)]
        words += ["--no-cache", wanted, "-c", "hashed.txt", "-b", "hashed.txt"]
        done = subprocess.run([*UV, *words], capture_output=True, text=True, cwd=tmp_path)
        assert ("Hash mismatch" in done.stderr) != accepted, done.stderr
        if how == "wanted to build":  # by an empty module, so it goes no further
            assert not accepted or "build_editable" in done.stderr or "build_wheel" in done.stderr, done.stderr
        else:
            assert (done.returncode == 0) == accepted, done.stderr


def test_every_pinned_package_is_in_the_list_of_licences():
    rows = re.findall(r"^\| (\S+) \| (.*?) \|$", (ROOT / "docs" / "licences.md").read_text(), re.MULTILINE)
    listed = dict(rows[1:] if rows[0][0] == "package" else rows)
    listed.pop("---", None)
    assert listed.keys() == pins((ROOT / "constraints.txt").read_text()).keys(), "constraints.txt was changed; run .ci/licences"
    assert all(listed.values())
