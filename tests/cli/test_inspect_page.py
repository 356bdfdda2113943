"""inspect --html: one page, opened in a browser."""

from __future__ import annotations

import html
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dscompile.frontend.zoo import write_zoo
from tests.chromium import opened
from tests.cli.conftest import CommandLine

DATA = Path(__file__).resolve().parents[1] / "data"
PNG = b"\x89PNG\r\n\x1a\n"


def charts(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(chart) for chart in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


def test_html_has_cards_charts_and_layers(dscompile: CommandLine, tiny: Path, folder: Path):
    outcome = dscompile("inspect", tiny, "-t", "x86-avx2", "--html", "report/tiny.html")
    assert outcome.code == 0
    assert outcome.out.endswith("\n\nwrote report/tiny.html\n")
    page = (folder / "report" / "tiny.html").read_text()
    assert "<title>tiny on x86-avx2</title>" in page
    assert '<span class="value">10.7 k</span>' in page
    assert page.count('<th scope="row" data-value=') == 7
    assert '<span class="n">17.0 %</span><span class="sub n">1/17 + 1/9</span>' in page
    arena, roofline = charts(page)
    assert [chart.get("role") for chart in (arena, roofline)] == ["img", "img"]
    titles = [title.text or "" for title in arena.iter("title")]
    assert titles[0] == "Arena map of tiny"
    assert any(re.fullmatch(r"input:image: 972 B at [\d ]+, steps -1 to 0", title) for title in titles)
    assert len(list(roofline.iter("circle"))) == 6  # all but the reshape, which computes nothing


def test_html_without_a_target_has_neither_roofline_nor_arena(dscompile: CommandLine, tiny: Path, folder: Path):
    assert dscompile("inspect", tiny, "--html", "tiny.html").code == 0
    page = (folder / "tiny.html").read_text()
    assert charts(page) == []
    assert "Roofline and arena are those of a target" in page
    assert "bound by" not in page


def test_a_page_replaces_the_one_before_and_is_the_same_every_time(dscompile: CommandLine, tiny: Path, folder: Path):
    (folder / "tiny.html").write_text("old")
    dscompile("inspect", tiny, "-t", "cortex-m4", "--html", "tiny.html")
    first = (folder / "tiny.html").read_bytes()
    dscompile("inspect", tiny, "-t", "cortex-m4", "--html", "tiny.html")
    assert (folder / "tiny.html").read_bytes() == first


def test_a_page_that_cannot_be_written_is_a_tool_error(dscompile: CommandLine, tiny: Path, folder: Path):
    (folder / "file").write_text("")
    outcome = dscompile("inspect", tiny, "--html", "file/tiny.html")
    assert outcome.code == 5
    assert outcome.err.startswith("error: cannot write into 'file'")


def test_a_page_needs_a_name(dscompile: CommandLine, tiny: Path):
    outcome = dscompile("inspect", tiny, "--html", "")
    assert (outcome.code, outcome.err.splitlines()[0]) == (2, "error: '' is not the name of a page")


def test_json_says_where_the_page_is(dscompile: CommandLine, tiny: Path):
    assert '"html": "tiny.html"' in dscompile("inspect", tiny, "--html", "tiny.html", "--json").out


def test_a_page_for_a_gpu_shows_its_modules(dscompile: CommandLine, tiny: Path, folder: Path):
    assert dscompile("inspect", tiny, "-t", "cuda-sm80", "--html", "gpu.html").code == 0
    page = (folder / "gpu.html").read_text()
    assert '<h2 id="modules">Modules</h2>' in page
    assert '<th scope="row">stem' in page
    assert "DRAM: 1103 B per cycle" in page


EVIL = (
    "dscompile: 1\nnetwork:\n  name: '<script>alert(1)<b>&'\n"
    "  input: {name: '<img src=x onerror=alert(2)>', shape: [1, 8, 8, 4]}\n  layers:\n"
    "    - separable: {name: '\"><svg onload=alert(3)>', out: 6, kernel: 3}\nweights: {seed: 7}\n"
)


def test_names_are_text_and_never_markup(dscompile: CommandLine, folder: Path):
    (folder / "evil.yaml").write_text(EVIL)
    assert dscompile("inspect", "evil.yaml", "-t", "c99", "--html", "evil.html").code == 0
    page = (folder / "evil.html").read_text()
    assert not re.search("<script>alert|<img|<svg onload|<b>", page)
    assert html.escape("<script>alert(1)<b>&") in page


@pytest.mark.slow
def test_a_browser_takes_names_for_text(dscompile: CommandLine, folder: Path):
    (folder / "evil.yaml").write_text(EVIL)
    assert dscompile("inspect", "evil.yaml", "-t", "c99", "--html", "evil.html").code == 0
    with opened(folder / "evil.html") as page:
        assert page.evaluate("document.title") == "<script>alert(1)<b>& on c99"
        assert page.evaluate("document.querySelectorAll('img, b').length") == 0
        assert (page.console, len(page.requests)) == ([], 1)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "target"), [("mobilenet_v2", "x86-avx512"), ("vww_96_int8.tflite", "cortex-m4")])
def test_a_browser_shows_the_page_without_errors_and_asks_for_nothing_else(
    dscompile: CommandLine, folder: Path, network: str, target: str
):
    model = DATA / network if network.endswith("tflite") else write_zoo(network, folder)
    assert dscompile("inspect", model, "-t", target, "--html", "page.html").code == 0
    path = folder / "page.html"
    with opened(path) as page:
        for width, height, dark in ((1200, 900, False), (1200, 900, True), (390, 844, False)):
            page.show(width=width, height=height, dark=dark)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (
                "the page itself never scrolls sideways"
            )
            picture = folder / f"{width}{'-dark' if dark else ''}.png"
            page.screenshot(picture)
            assert picture.read_bytes()[:8] == PNG
            assert picture.stat().st_size > 50_000
        colors = "getComputedStyle(document.body).backgroundColor"
        page.show(width=1200, height=900)
        light = page.evaluate(colors)
        page.show(width=1200, height=900, dark=True)
        assert page.evaluate(colors) != light
        values = "[...document.querySelectorAll('.sortable tbody tr')].map(row => Number(row.cells[1].dataset.value))"
        before = page.evaluate(values)
        page.evaluate("document.querySelectorAll('.sortable th button')[1].click()")
        assert page.evaluate(values) == sorted(before, reverse=True)
        page.evaluate("document.querySelectorAll('.sortable th button')[0].click()")
        assert page.evaluate(values) == before
        assert page.requests == [path.resolve().as_uri()]
        assert page.console == []


@pytest.mark.slow
def test_text_has_the_contrast_that_wcag_asks_for(dscompile: CommandLine, tiny: Path, folder: Path):
    assert dscompile("inspect", tiny, "-t", "x86-avx2", "--html", "tiny.html").code == 0
    pairs = "[...document.querySelectorAll('body p, .label, .value, .note, th, td, .sub, .chip, .legend li, h1, h2')]"
    script = (
        f"JSON.stringify({pairs}.map(element => {{ let under = element; const style = getComputedStyle; "
        "while (style(under).backgroundColor === 'rgba(0, 0, 0, 0)') under = under.parentElement; "
        "return [style(element).color, style(under).backgroundColor]; }))"
    )
    with opened(folder / "tiny.html") as page:
        for dark in (False, True):
            page.show(width=1200, height=900, dark=dark)
            found = set(re.findall(r'\["(rgb[^"]*)","(rgb[^"]*)"\]', page.evaluate(script)))
            assert found
            for ink, paper in found:
                assert contrast(ink, paper) >= 4.5, (ink, paper)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio of two CSS colors rgb(r, g, b)."""
    lights = sorted(luminance([int(part) / 255 for part in re.findall(r"\d+", color)[:3]]) for color in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(channels: list[float]) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
