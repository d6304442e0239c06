import subprocess
import sys

import pytest

import workbench


def python(code: str, folder) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


def test_import_is_light(tmp_path):
    result = python(
        "import workbench, sys; print([m for m in ('torch', 'transformer_lens', 'pandas') if m in sys.modules])", tmp_path
    )
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize("kind", ["package", "module"])
def test_what_shadows_what_is_named(tmp_path, kind):
    if kind == "package":
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / "__init__.py").touch()
        shadow = tmp_path / "models"
    else:
        shadow = tmp_path / "models.py"
        shadow.touch()
    result = python("import workbench", tmp_path)
    assert result.returncode == 1
    assert f"ImportError: {shadow.resolve()} is what Python finds as 'models', in place of the workbench's own" in result.stderr


def test_a_folder_without_code_of_that_name_is_named_or_harmless(tmp_path):
    (tmp_path / "models").mkdir()
    result = python("import workbench, models.config", tmp_path)
    assert result.returncode == 0 or "ImportError: " + str((tmp_path / "models").resolve()) in result.stderr


def test_an_already_imported_stranger_is_named(tmp_path):
    stranger = "m = types.ModuleType('probes'); m.__file__ = '/elsewhere/probes.py'; sys.modules['probes'] = m"
    code = f"import sys, types; {stranger}; import workbench"
    assert "/elsewhere/probes.py is what Python finds as 'probes'" in python(code, tmp_path).stderr


def test_names_are_there_and_a_wrong_one_is_named(tmp_path):
    assert (
        python("from workbench import load, compare, evaluate, train, certify, make_task, TaskConfig", tmp_path).returncode == 0
    )
    assert "workbench has no 'laod'; it has ablate, certify" in python("import workbench; workbench.laod", tmp_path).stderr


def test_every_name_is_offered_where_names_are_completed():
    assert set(workbench.__all__) <= set(dir(workbench)) and dir(workbench) == sorted(set(dir(workbench)))
    assert {"__all__", "__name__"} <= set(dir(workbench))
    assert all(getattr(workbench, name).__name__ == name for name in workbench.__all__)


WITHOUT_HOOKS = {
    "evaluate": "from workbench import evaluate; evaluate('othello-mini-none', sequences=4, lengths=[5])",
    "compare": "from workbench import compare; compare(['set-complement-v16-none-seed0'], sequences=4)",
    "certify": "from workbench import certify; certify('set-complement-v16-none-seed0')",
    "explorer": "from workbench.widgets.length_explorer import LengthExplorer as L; L(['set-complement-v16-none-seed0'])",
    "search": "import workbench.search",
}


@pytest.mark.parametrize("what", WITHOUT_HOOKS)
def test_transformer_lens_is_imported_only_where_hooks_are_wanted(what, tmp_path):
    told = "import sys; print('transformer_lens' in sys.modules)"
    assert python(f"{WITHOUT_HOOKS[what]}; {told}", tmp_path).stdout.strip() == "False"


def test_a_hooked_model_is_known_for_one_whoever_made_it(tmp_path):
    code = (
        "from models.hooked import HookedTransformer, load; from models.transformer import Transformer; import torch\n"
        "before = isinstance(torch.nn.Linear(2, 2), HookedTransformer)\n"
        "model = load('set-complement-v16-none-seed0')\n"
        "print(before, isinstance(model, HookedTransformer), isinstance(torch.nn.Linear(2, 2), HookedTransformer))"
    )
    assert python(code, tmp_path).stdout.strip() == "False True False"
