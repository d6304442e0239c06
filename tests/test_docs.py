"""The documentation site: it builds without a warning, and its pages load nothing from elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from workbench.figures.export import find_browser

ROOT = Path(__file__).parents[1]
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data", "link": "href"}
ELSEWHERE = re.compile(r"^(https?:)?//")
IN_STYLES = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')]+)""")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_site_is_whole_and_loads_nothing_from_elsewhere(tmp_path):
    if find_browser() is None:
        pytest.skip("the gallery's figures need a Chrome or Chromium: make system")
    site = built(tmp_path)  # minutes, so once for all
    check_that_nothing_loads_from_elsewhere(site)
    check_that_every_notebook_is_in_the_gallery(site)
    check_in_a_browser(site)


def built(copy: Path) -> Path:
    """The site as `make docs` builds it, from a copy, so that nothing is written into the checkout."""
    shutil.copytree(ROOT / "docs", copy / "docs", ignore=shutil.ignore_patterns("gallery", "__pycache__"))
    shutil.copytree(ROOT / "notebooks", copy / "notebooks")
    shutil.copy(ROOT / "mkdocs.yml", copy)
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    for command in ([str(copy / "docs" / "gallery.py")], ["-m", "mkdocs", "build", "--strict"]):
        done = subprocess.run(
            [sys.executable, *command], cwd=copy, env=environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return copy / "site"


class Loads(HTMLParser):
    """Addresses that a browser fetches when it opens a page."""

    def __init__(self, page: Path):
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in LOADED and given.get("rel") not in ("canonical", "next", "prev"):
            self.addresses.append(given.get(LOADED[tag]) or "")


def check_that_nothing_loads_from_elsewhere(site):
    pages = [*site.rglob("*.html")]
    assert len(pages) > 100
    loaded = {page.relative_to(site): [a for a in Loads(page).addresses if ELSEWHERE.match(a)] for page in pages}
    assert {page: addresses for page, addresses in loaded.items() if addresses} == {}
    styles = [*site.rglob("*.css"), *site.rglob("*.svg"), *pages]
    assert {style.name: found for style in styles if (found := IN_STYLES.findall(style.read_text()))} == {}


def check_that_every_notebook_is_in_the_gallery(site):
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        page = (site / "gallery" / f"{notebook.stem}.html").read_text()
        pictures = re.findall(f'src="({notebook.stem}-[0-9]+.svg)"', page)
        assert pictures or "data:image/svg+xml" in page
        assert all((site / "gallery" / picture).stat().st_size > 1000 for picture in pictures)


def check_in_a_browser(site):
    """Formulas are drawn, and nothing is asked for but files."""
    asked = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        for name in ("index", "theory", "gallery/03_othello_explorer", "reference/probes/certificate"):
            page.goto((site / f"{name}.html").as_uri())
            if name == "theory":
                fraction = page.locator("div.formula mfrac").first.bounding_box()
                assert fraction and fraction["height"] > 20
        browser.close()
    assert asked and all(url.startswith(("file:", "data:", "blob:")) for url in asked)
