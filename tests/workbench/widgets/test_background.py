import threading

import pytest

from workbench.widgets.background import Background


def test_work_reports_its_progress_and_its_end():
    background, seen, ended = Background(), [], []

    def work(progress):
        for share in (0.25, 0.5):
            progress(share, f"at {share}")
            seen.append((background.bar.value, background.bar.layout.display, "at" in background.message.value))
        return "all <done>"

    background.start(work, then=lambda: ended.append(True))
    background.wait(10)
    assert seen == [(0.25, None, True), (0.5, None, True)] and ended == [True] and not background.running
    assert "all &lt;done>" in background.message.value and background.bar.layout.display == "none"


def test_work_can_be_stopped_and_only_one_runs_at_a_time():
    background, begun, go_on, after = Background(), threading.Event(), threading.Event(), []

    def work(progress):
        begun.set()
        go_on.wait(10)
        progress(0.5, "half")
        after.append("not stopped")
        return "done"

    background.start(work)
    begun.wait(10)
    background.start(lambda progress: after.append("a second one"))
    assert "still busy" in background.message.value
    background.stop_button.click()
    go_on.set()
    background.wait(10)
    assert not after and "stopped" in background.message.value


@pytest.mark.parametrize(
    "error, words", [(ValueError("give another"), ">give another<"), (KeyError("lost"), ">unexpected KeyError: 'lost'<")]
)
def test_an_error_is_shown_as_one_sentence(error, words):
    background = Background()

    def work(progress):
        raise error

    background.start(work)
    background.wait(10)
    assert words in background.message.value and "#b00020" in background.message.value
