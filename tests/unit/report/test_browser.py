"""The page in a real browser. Skipped, and said so, where there is no Chromium."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import samples

from compress.report.pages import run as page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--enable-logging=stderr",
)  # fmt: skip
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, chromium-browser or google-chrome on the PATH"),
]


def open_page(text: str, folder: Path) -> tuple[list[str], list[str], str]:
    """Open a page: what its console said, which addresses it asked for, and the document as the browser sees it."""
    file, log = folder / "report.html", folder / "net.json"
    file.write_text(text, encoding="utf-8")
    command = [
        str(CHROMIUM),
        *FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        f"--log-net-log={log}",
        "--dump-dom",
        file.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    events = json.loads(log.read_text())["events"] if log.exists() else []
    asked = {str(e.get("params", {}).get("url", "")) for e in events}
    return console, sorted(u for u in asked if "example" in u), done.stdout


@pytest.mark.parametrize("name", ["good", "many", "hostile", "alone"])
def test_the_browser_complains_about_nothing(name: str, tmp_path: Path) -> None:
    console, asked, dom = open_page(page.render(samples.SAMPLES[name]()), tmp_path)
    assert console == []
    assert asked == []
    assert "<main" in dom


def test_the_check_sees_a_page_that_would_load_or_run_something(tmp_path: Path) -> None:
    text = page.render(samples.good())
    spoilt = text.replace("<main", '<img src="http://127.0.0.1:9/example.png"><script>console.log(1)</script><main', 1)
    console, asked, _ = open_page(spoilt, tmp_path)
    assert len(console) >= 2  # the policy refused both, and said so
    assert asked == []


def test_the_check_sees_a_request(tmp_path: Path) -> None:
    text = page.render(samples.good()).replace("http-equiv", "data-off", 1)
    _, asked, _ = open_page(text.replace("<main", '<img src="http://127.0.0.1:9/example.png"><main', 1), tmp_path)
    assert asked == ["http://127.0.0.1:9/example.png"]
