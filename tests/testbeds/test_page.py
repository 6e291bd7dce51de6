"""The page of `runner report` in a real browser: offline, light and dark, wide and narrow, without script.

Screenshots are kept below SCREENSHOTS, where that is set, for people to look at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.page import write_page
from tests.runner.page.made import HOSTILE, make_run
from tests.testbeds.browser import CHROMIUM, Browser

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]
SIZES = """[...document.querySelectorAll(".series .curve")].map((curve) => {
  const box = curve.getBoundingClientRect();
  return [box.width, box.height];
})"""
FIRST = "document.querySelector('.chart svg')"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    browser = Browser(tmp_path / "profile")
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("shots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module", params=["plain", "hostile"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run that has seen everything; hostile: its names and words are an attack."""
    folder = tmp_path_factory.mktemp(request.param)
    words = {"source": HOSTILE, "words": HOSTILE} if request.param == "hostile" else {}
    path = folder / f"{request.param}.html"
    write_page(make_run(folder, rows=3000, **words), path)
    return path


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (380, "light"), (380, "dark")], ids=str
)
def test_it_opens_offline_and_shows_curves(
    browser: Browser, page: Path, shots: Path, width: int, scheme: str
) -> None:
    browser.open(page.as_uri(), width=width, scheme=scheme)
    assert (browser.console, browser.requests) == ([], [page.as_uri()])
    sizes = browser.evaluate(SIZES)
    assert len(sizes) > 60
    assert all(wide > 100 and high >= 0 for wide, high in sizes)
    assert sum(high > 20 for _, high in sizes) > len(sizes) * 0.6
    text = browser.evaluate("document.body.innerText")
    for told in (
        "3,000 of 3,000",
        "0.2500",
        "225,920 parameters",
        "out of gpu memory",
        "9.75",
        "rank 3 on host2",
    ):
        assert told in text
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(251, 251, 249)", "dark": "rgb(20, 23, 26)"}[scheme]
    name = f"{page.stem}-{width}-{scheme}.png"
    assert browser.screenshot(shots / name, whole=True) > 50_000


def test_names_that_are_an_attack_are_only_text(browser: Browser, page: Path) -> None:
    browser.open(page.as_uri())
    assert browser.evaluate("document.querySelectorAll('img, iframe, object, link[href^=http]').length") == 0
    assert browser.evaluate("document.querySelectorAll('script:not([type])').length") == 1
    if page.stem == "hostile":
        assert "<script>alert(1)</script>" in browser.evaluate("document.body.innerText")


def test_values_logarithmic_scales_and_hidden_curves(browser: Browser, page: Path, shots: Path) -> None:
    browser.open(page.as_uri())
    box = browser.evaluate(
        f"(({{x, y, width, height}}) => [x, y, width, height])({FIRST}.getBoundingClientRect())"
    )
    browser.evaluate(f"{FIRST}.scrollIntoView({{block: 'center'}})")
    y = browser.evaluate(f"{FIRST}.getBoundingClientRect().y")
    browser.move_to(box[0] + box[2] * 0.5, y + box[3] * 0.5)
    told = browser.evaluate("document.querySelector('.tip:not([hidden])').innerText")
    assert told.startswith("step 1")
    assert "training: 0." in told
    browser.screenshot(shots / f"{page.stem}-values.png")
    curve = f"{FIRST}.querySelector('.curve').getAttribute('d')"
    before, labels = browser.evaluate(curve), f"{FIRST}.querySelector('.labels.y').textContent"
    linear = browser.evaluate(labels)
    browser.evaluate("document.querySelector('.scale').click()")
    assert browser.evaluate(curve) != before
    assert browser.evaluate(labels) != linear
    browser.screenshot(shots / f"{page.stem}-log.png")
    browser.evaluate("document.querySelector('.scale').click()")
    assert browser.evaluate(labels) == linear
    browser.evaluate("document.querySelector('.key').click()")
    assert browser.evaluate("document.querySelector('.series').style.display") == "none"
    assert browser.console == []


def test_the_script_draws_what_the_page_has_drawn(browser: Browser, page: Path) -> None:
    """Both compute ticks and places: a linear scale that is drawn again has to be the same."""
    browser.open(page.as_uri())
    drawn = "[...document.querySelectorAll('.chart > svg .labels.y')].map((labels) => labels.textContent)"
    before = browser.evaluate(drawn)
    twice = "document.querySelectorAll('.scale').forEach((button) => { button.click(); button.click(); })"
    browser.evaluate(twice)
    assert browser.evaluate(drawn) == before
    assert len(before) > 15


def test_without_script_everything_can_be_read(browser: Browser, page: Path) -> None:
    browser.without_script()
    browser.open(page.as_uri())
    sizes = browser.evaluate(SIZES)
    assert all(wide > 100 for wide, _ in sizes)
    assert browser.evaluate("document.querySelectorAll('.legend .figures').length") > 20
    assert browser.evaluate("document.querySelector('.scale')") is None
