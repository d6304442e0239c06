import shutil, statistics, subprocess, sys


def test_trial(lab, page, tmp_path):
    subprocess.run([sys.executable, "/tmp/nb.py", "/tmp/trial1.py", str(lab.folder / "trial.ipynb")], check=True)
    nb = lab.open(page, "trial")
    nb.run_all()
    w = nb.widget("workbench-length-explorer")
    plots = w.locator(".js-plotly-plot")
    plots.nth(1).wait_for(timeout=30000)
    page.screenshot(path=str(tmp_path / "a.png"))
    for i in (0, 1):
        t = nb.slide(w.locator(".control-length"), plots.nth(i), ["ArrowRight"] * 12 + ["ArrowLeft"] * 12)
        print(t, statistics.median(t), max(t))
    page.screenshot(path=str(tmp_path / "b.png"))
