"""Every kind of page through axe-core in a real browser: nothing serious or critical, wide and narrow, light and dark.

axe-core 4.12 comes with axe-playwright-python (pip --no-deps: Playwright itself is not used), or as the file AXE_JS
names: a newer one: npm pack axe-core. AXE_ALL=1 looks at every page in all four ways.
"""

import json
import os
import re
import shutil
import subprocess
from html import unescape
from importlib.util import find_spec
from pathlib import Path

import contrasts
import pytest
import samples
from quantized import quantized
from test_browser import CHROMIUM, FLAGS
from test_measurement_page import device, model
from test_measurement_page import page as measurement_page
from test_watch_page import written  # noqa: F401  (a fixture)

from compress.blamed import Blame, LayerBlame, Mixed
from compress.report.facts.watched import read_watched
from compress.report.pages import blame as blame_page
from compress.report.pages import given as given_page
from compress.report.pages import run as page
from compress.report.pages import versus as versus_page
from compress.report.pages.watch import render as render_watched
from compress.versus import Side, Versus


def axe_js() -> Path | None:
    if given := os.environ.get("AXE_JS"):
        return Path(given)
    found = find_spec("axe_playwright_python")
    return Path(found.origin).parent / "axe.min.js" if found and found.origin else None


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, chromium-browser or google-chrome on the PATH"),
    pytest.mark.skipif(
        axe_js() is None, reason="needs axe-core: pip install --no-deps axe-playwright-python, or AXE_JS=axe.min.js"
    ),
]


def run_page() -> str:
    return page.render(samples.good().model_copy(update={"comparison": contrasts.explained()}))


def compare_page() -> str:
    good = samples.good()
    a, b = good.artefacts[0], good.artefact(good.shipped)
    facts = {"seed": 0, "versions": {}, "host": good.host, "training_seconds": 1.0, "run": "r"}
    sides = tuple(Side(name=x.id, artefact=x, **facts) for x in (a, b))
    pair = contrasts.grouped().model_copy(update={"before": a.id, "after": b.id})
    return versus_page.render(Versus(data="d", fingerprint="f", sides=sides, comparisons=(pair,)), 0.05)


def blamed_page() -> str:
    rows = tuple(
        LayerBlame(name=n, op="conv2d", weight_sqnr_db=40, output_sqnr_db=30, clipped=0.1, zero_channels=1, gain=1,
                   alone_kl=kl, alone_top1=0.9, without_kl=0.4 - kl, without_top1=0.9, milliseconds=0.1, share=0.5,
                   saves_ms=0.01, saves_ci95=(0.0, 0.02), findings=("clipped range",) if kl > 0.2 else ())
        for n, kl in (("stem", 0.3), ("head", 0.05))
    )  # fmt: skip
    plan = Mixed(keep_float=("stem",), predicted_kl=0.1, kl=0.1, top1=0.9, size_bytes=9000, recovered=0.9,
                 predicted_slower_ms=0.01, milliseconds=0.2, slower_ms=0.01)  # fmt: skip
    return blame_page.render(
        Blame(name="r", artefact="q.onnx", kind="onnx", count=100, float_top1=0.95, top1=0.8, kl=0.4, size_bytes=8000,
              float_size_bytes=30000, milliseconds=0.19, float_milliseconds=0.4, profile="onnxruntime's profiler",
              layers=rows, tried=(plan,), plan=plan, advice=("Keep stem in float.",))
    )  # fmt: skip


def measured_page() -> str:
    rows = [{"name": "conv", "op": "Conv", "arithmetic": "float", "provider": "CPU", "us": 12.0, "share": 1.0}]
    operators = {"how": "onnxruntime's profiler", "runs": 5, "rows": rows, "verdict": ["the time goes to conv"]}
    pi5 = device(models={"onnx": model(4)})
    return measurement_page(cpu=device(models={"onnx": model(operators=operators)}), pi5=pi5)


PAGES = {
    "run": run_page,
    "compare": compare_page,
    "blame": blamed_page,
    "measurement": measured_page,
    "int8": lambda: given_page.render(quantized()),
    "many": lambda: page.render(samples.many()),
    "missed": lambda: page.render(samples.missed()),
}
LOOKS = {"wide and light": ("1280,1000", False), "narrow and dark": ("500,900", True)}
if os.environ.get("AXE_ALL"):
    LOOKS |= {"wide and dark": ("1280,1000", True), "narrow and light": ("500,900", False)}


def violations(text: str, size: str, dark: bool, folder: Path) -> list[dict[str, object]]:
    """What axe finds serious or critical. The page's policy is lifted for it: pages run no script themselves."""
    script = axe_js()
    assert script is not None
    shutil.copy(script, folder / "axe.min.js")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text, count=1)
    run = (
        '<script src="axe.min.js"></script><script>axe.run().then(r => { const e = document.createElement("pre");'
        'e.id = "found"; e.textContent = JSON.stringify({passes: r.passes.length, violations: r.violations.map(v => ('
        "{id: v.id, impact: v.impact, nodes: v.nodes.slice(0, 5).map(n => n.html.slice(0, 200) + n.failureSummary)}"
        "))});"
        "document.documentElement.appendChild(e); })</script>"
    )
    file = folder / "page.html"
    file.write_text(text.replace("</body>", f"{run}</body>"), encoding="utf-8")
    done = subprocess.run(
        [str(CHROMIUM), *FLAGS, *(["--blink-settings=preferredColorScheme=0"] if dark else []),
         f"--user-data-dir={folder / 'profile'}", f"--window-size={size}", "--virtual-time-budget=60000", "--dump-dom",
         file.as_uri()],
        capture_output=True, text=True, timeout=110, check=True,
    )  # fmt: skip
    (found,) = re.findall(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    answer = json.loads(unescape(found))
    assert answer["passes"] > 10
    return [v for v in answer["violations"] if v["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", PAGES)
def test_nothing_serious_keeps_anybody_from_reading(name, look, tmp_path):
    assert violations(PAGES[name](), *LOOKS[look], tmp_path) == []


def test_nor_on_the_page_of_a_monitor(written, tmp_path):  # noqa: F811
    assert violations(render_watched(read_watched(written)), *LOOKS["wide and light"], tmp_path) == []


def test_the_check_sees_a_picture_without_words_and_grey_on_grey(tmp_path):
    spoilt = '<img src="data:image/png;base64,AAAA"><p style="color:#999;background:#aaa">pale</p>'
    found = violations(run_page().replace("<footer", f"{spoilt}<footer", 1), "1280,1000", False, tmp_path)

    assert {"image-alt", "color-contrast"} <= {v["id"] for v in found}
