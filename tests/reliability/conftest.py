"""What the tests of bad files spoil copies of."""

import pytest

from workbench.cli import run as command

from .test_kill import train_words


@pytest.fixture(scope="session")
def sound_run(tmp_path_factory):
    """A small run of two steps, both saved."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert command(train_words(folder, 2, 1)) == 0
    return folder
