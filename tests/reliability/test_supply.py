"""What is installed is what was pinned, file by file, and under which licence it is."""

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
UV = [sys.executable, "-m", "uv"]


def pins(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", text, re.MULTILINE))


def test_every_pin_but_torch_has_its_hashes_and_no_registry_is_named():
    plain, hashed = (ROOT / "constraints.txt").read_text(), (ROOT / "constraints-hashed.txt").read_text()
    wanted = pins(plain)
    assert wanted.pop("torch")  # its build is chosen when it is installed
    assert pins(hashed) == wanted, "constraints.txt was changed; run .ci/hashes"
    for entry in re.split(r"\n(?=\S)", hashed.strip()):
        assert re.fullmatch(r"[a-z0-9._-]+==\S+( \\\n    --hash=sha256:[0-9a-f]{64})+", entry), entry
    assert "://" not in plain + hashed


def test_uv_refuses_a_file_of_another_hash(tmp_path):
    """A wheel made here, installed with the hash it has and with another one."""
    wheel = tmp_path / "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "")
        archive.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
        archive.writestr("tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.dist-info/RECORD", "tiny.py,,\ntiny-1.dist-info/METADATA,,\ntiny-1.dist-info/WHEEL,,\n")
    subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, str(tmp_path / "v")], check=True)
    right = hashlib.sha256(wheel.read_bytes()).hexdigest()
    for digest, accepted in (("0" * 64, False), (right, True)):
        (tmp_path / "hashed.txt").write_text(f"tiny==1 --hash=sha256:{digest}\n")
        words = ["pip", "install", "--quiet", "--python", str(tmp_path / "v"), "--no-index", "--find-links", str(tmp_path)]
        done = subprocess.run(
            [*UV, *words, "--no-cache", "tiny", "-c", str(tmp_path / "hashed.txt")],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert (done.returncode == 0) == accepted, done.stderr
        assert accepted or "Hash mismatch" in done.stderr


def test_every_pinned_package_is_in_the_list_of_licences():
    rows = re.findall(r"^\| (\S+) \| (.*?) \|$", (ROOT / "docs" / "licences.md").read_text(), re.MULTILINE)
    listed = dict(rows[1:] if rows[0][0] == "package" else rows)
    listed.pop("---", None)
    assert listed.keys() == pins((ROOT / "constraints.txt").read_text()).keys(), "constraints.txt was changed; run .ci/licences"
    assert all(listed.values())
