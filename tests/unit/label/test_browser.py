"""The page in a real browser, driven by real key events. Skipped, and said so, where there is no Chromium."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from compress.label.server import LabelServer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-default-apps", "--window-size=1100,760",
         "--remote-debugging-pipe")  # fmt: skip
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, chromium-browser or google-chrome on the PATH"),
]


class Browser:
    """Chromium, driven over a pair of pipes; remembers what the page asked for and complained about."""

    def __init__(self, profile: Path) -> None:
        to_child, ours = os.pipe()
        theirs, from_child = os.pipe()
        command = ["bash", "-c", f'exec "$0" "$@" 3<&{to_child} 4>&{from_child}', str(CHROMIUM), *FLAGS,
                   f"--user-data-dir={profile}", "about:blank"]  # fmt: skip
        self._process = subprocess.Popen(
            command, pass_fds=(to_child, from_child), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_child)
        os.close(from_child)
        self._out, self._in, self._rest, self._number = ours, theirs, b"", 0
        self.asked: list[str] = []
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._page = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if hasattr(self, "_page") and not method.startswith("Target"):
            message["sessionId"] = self._page
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _read(self):
        while b"\0" not in self._rest:
            part = os.read(self._in, 1 << 16)
            assert part, "the browser has gone"
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        event = json.loads(line)
        kind, parameters = event.get("method"), event.get("params", {})
        if kind == "Network.requestWillBeSent":
            self.asked.append(parameters["request"]["url"])
        if kind in (
            "Runtime.exceptionThrown",
            "Log.entryAdded",
            "Page.javascriptDialogOpening",
            "Runtime.consoleAPICalled",
        ):
            self.complaints.append(json.dumps(parameters)[:300])
        return event

    def js(self, expression):
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression, seconds=20.0):
        end = time.monotonic() + seconds
        while not self.js(expression):
            assert time.monotonic() < end, f"never: {expression}\n{self.js('document.body.innerText')}"
            time.sleep(0.02)

    def press(self, key):
        code = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **code)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def screenshot(self, path):
        Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def close(self):
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)


@pytest.fixture
def browser(tmp_path):
    found = Browser(tmp_path / "profile")
    yield found
    found.close()


@pytest.fixture
def page(browser):
    """Opens a queue's page in the browser."""
    running = []

    def start(queue):
        server = LabelServer(queue)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.append((server, thread))
        browser.call("Page.navigate", url=server.url)
        browser.until("document.querySelectorAll('#classes button').length > 0")
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


def test_labels_are_given_corrected_and_undone_by_keyboard(make, browser, page):
    queue, _ = make(n=4)
    server = page(queue)
    a, b, c, d = queue.items

    browser.press("2")
    browser.until("document.getElementById('count').textContent === '1 of 4 labelled, item 2'")
    browser.press("Enter")
    browser.until("document.getElementById('count').textContent === '2 of 4 labelled, item 3'")
    assert queue.decisions() == {a: queue.labels[1], b: queue.items[b].predicted}
    browser.press("u")
    browser.until("document.getElementById('count').textContent === '1 of 4 labelled, item 2'")
    browser.press("ArrowLeft")
    browser.press("3")
    browser.until("document.getElementById('count').textContent === '1 of 4 labelled, item 2'")
    for key in ("1", "1", "0"):
        browser.press(key)
    browser.until("document.getElementById('message').textContent.startsWith('All items')")
    assert queue.decisions() == {a: "=two", b: "zero", c: "zero", d: queue.labels[9]}
    browser.press("x")
    browser.until("document.getElementById('count').textContent === '3 of 4 labelled, item 4'")

    assert d not in queue.decisions()
    assert browser.complaints == []
    assert {u.partition(server.token)[0] for u in browser.asked if not u.startswith("data:")} == {
        f"http://127.0.0.1:{server.server_port}/"
    }


def test_names_and_texts_from_the_field_are_never_markup(make, browser, page):
    queue, texts = make("text", n=3)
    page(queue)
    browser.until("document.querySelector('#stage p') !== null")

    assert browser.js("document.querySelector('#stage p').textContent") in texts
    assert browser.js("document.querySelectorAll('#stage script, #classes img').length") == 0
    assert browser.js("document.querySelector('#name').textContent") == "Label field <model>"
    browser.press("2")
    browser.until("document.getElementById('message').textContent.includes('<img')")
    assert browser.complaints == []


def test_a_label_that_cannot_be_written_is_said(make, browser, page):
    queue, _ = make(n=3)
    page(queue)
    browser.press("1")
    browser.until("document.getElementById('count').textContent.startsWith('1 of 3')")
    (queue.folder / "labels.jsonl").chmod(0o400)
    (queue.folder / "labels.jsonl").unlink()
    (queue.folder / "labels.jsonl").mkdir()
    browser.press("1")
    browser.until("document.getElementById('message').className === 'bad'")
    assert "Not saved" in browser.js("document.getElementById('message').textContent")
    assert browser.js("document.getElementById('count').textContent").startswith("1 of 3")


def test_the_command_serves_until_it_is_stopped_and_the_page_says_so(make, browser):
    queue, _ = make(n=2)
    command = [sys.executable, "-m", "compress", "label", str(queue.folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    url = process.stdout.readline().split()[1]
    browser.call("Page.navigate", url=url)
    browser.until("document.querySelectorAll('#classes button').length > 0")
    browser.press("1")
    browser.until("document.getElementById('count').textContent.startsWith('1 of 2')")
    process.send_signal(signal.SIGINT)

    assert "1 of 2 items have a label" in process.communicate(timeout=20)[0]
    assert process.returncode == 0
    browser.press("1")
    browser.until("document.getElementById('message').textContent.includes('does not answer')")
    assert list(queue.decisions().values()) == ["zero"]


def test_windows_are_drawn_and_many_classes_are_found_by_typing(make, browser, page):
    queue, _ = make("window", n=2)
    page(queue)
    browser.until("document.querySelectorAll('#stage polyline').length === 3")
    browser.press("/")
    for key in "11":
        browser.call("Input.dispatchKeyEvent", type="char", text=key)
    browser.until("document.querySelectorAll('#classes button').length === 1")
    browser.press("Enter")
    browser.until("document.getElementById('count').textContent.startsWith('1 of 2')")

    assert list(queue.decisions().values()) == ["class 11"]


def test_everything_has_a_name_and_enough_contrast(make, browser, page):
    queue, _ = make(n=2)
    page(queue)
    browser.until("document.querySelector('#stage img')?.complete")
    for scheme in ("light", "dark"):
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        assert browser.js(CONTRAST) >= 4.5, scheme
    tree = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "image", "img", "searchbox", "progressbar", "progressIndicator"}
    nameless = [n for n in tree if n.get("role", {}).get("value") in roles and not n.get("name", {}).get("value")]
    assert nameless == []


CONTRAST = """(() => {
  const light = (c) => { const v = c.match(/[\\d.]+/g).slice(0, 3).map((x) => x / 255)
    .map((x) => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
  const behind = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (!c.endsWith(", 0)") && c !== "transparent") return c; } return "rgb(255,255,255)"; };
  return Math.min(...[...document.querySelectorAll("p, h1, span, button:enabled, kbd")]
    .filter((e) => e.textContent.trim() && e.offsetParent && !e.closest(":disabled")).map((e) => {
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05); }));
})()"""
