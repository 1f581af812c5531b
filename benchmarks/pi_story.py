"""The life of a model on a Raspberry Pi, in one story: installed, updated, badly updated, unplugged, drifting, queried.

    python benchmarks/pi_story.py [--keep FOLDER]

The Pi is emulated: real ARM programs (aarch64, Cortex-A72 under qemu) in namespaces of their own, reached through a
real sshd, as in tests/pi. A kiosk program on it predicts frames all the time, from a store, under a monitor; the
bundles come from a web server on this machine. Everything asserted here is read from what the Pi says. Times are the
emulator's and mean nothing. Writes benchmarks/results/pi_story.json and the monitor's report, pi_story.html; exits 1
if a chapter does not end as it must.

The bundles are int8 ResNet-8 for handwritten digits (recipes/ptq_int8.yaml, two calibrations). `wrong` is one whose
reference answers are another's; `fragile` passes its self-test and gives NaN for overexposed frames.
"""

import argparse
import functools
import http.server
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from edge_runtime.files import file_info, read_npz, write_npz
from edge_runtime.manifest import read_manifest, write_manifest
from onnx import helper, numpy_helper

from compress.data.sources import open_data
from compress.devices.schema import Device
from compress.recipe.load import load_recipe

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from pi.board import Board, why_not  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
RECIPE = ROOT / "recipes" / "ptq_int8.yaml"
NOTE = "Written by an emulated Raspberry Pi (benchmarks/pi_story.py): its latencies and rates are the emulator's."
NORMAL, DRIFTED = 200, 400
KIOSK = """
import json, sys
import edge_runtime, numpy as np
from edge_runtime.monitor import Monitor
from edge_runtime.store import Store

store, alarms = Store("store"), []
frames = dict(np.load("frames.npz"))
bundle = store.path(store.state().current)
monitor = Monitor(bundle, "monitor.sqlite", keep="raw", share=1.0, on_alarm=lambda a: alarms.append(a.cause))
with monitor, store.open(monitor=monitor, refresh_s=0.2) as model:
    print(json.dumps({"runs": model.version}), flush=True)
    for line in sys.stdin:
        name, count = line.split()
        told = {"frames": name, "versions": {}, "errors": 0, "alarm_after": None}
        for i in range(int(count)):
            try:
                version = model.answer([frames[name][i % len(frames[name])]]).version
                told["versions"][version] = told["versions"].get(version, 0) + 1
            except edge_runtime.EdgeError as error:
                told["errors"] += 1
            if alarms and told["alarm_after"] is None:
                told["alarm_after"] = i + 1
        told["alarms"], told["runs"] = alarms[:], model.version
        alarms.clear()
        print(json.dumps(told), flush=True)
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Pi:
    """The board, through ssh."""

    def __init__(self, board: Board) -> None:
        device: Device = board.device()
        host, _, port = str(device.ssh).rpartition(":")
        self._ssh = ["ssh", "-T", "-F", str(device.ssh_config), "-i", str(device.identity), "-o", "IdentitiesOnly=yes",
                     "-o", "BatchMode=yes", "-p", port, host]  # fmt: skip
        self._python = board.python

    def python(self, *arguments: str) -> list[str]:
        words = " ".join(shlex.quote(a) for a in arguments)
        return [*self._ssh, f"PYTHONPATH=/root/app:$PYTHONPATH exec {self._python} {words}"]

    def runtime(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`edge-runtime` on the Pi."""
        command = self.python("-m", "edge_runtime", *arguments)
        return subprocess.run(command, capture_output=True, text=True, timeout=400, stdin=subprocess.DEVNULL)

    def put(self, files: dict[str, Path]) -> None:
        with tempfile.TemporaryFile() as archive:
            import tarfile

            with tarfile.open(fileobj=archive, mode="w") as tar:
                for name, path in files.items():
                    tar.add(path, name)
            archive.seek(0)
            code = "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall('.')"
            subprocess.run(self.python("-c", code), stdin=archive, check=True, timeout=200)

    def get(self, names: list[str], folder: Path) -> None:
        import io
        import tarfile

        code = (
            "import sys, tarfile; tar = tarfile.open(fileobj=sys.stdout.buffer, mode='w|'); "
            "[tar.add(n) for n in sys.argv[1:]]; tar.close()"
        )
        done = subprocess.run(self.python("-c", code, *names), capture_output=True, check=True, timeout=200)
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
            tar.extractall(folder, filter="data")


class Kiosk:
    """The program on the Pi that predicts."""

    def __init__(self, pi: Pi) -> None:
        self._process = subprocess.Popen(
            pi.python("kiosk.py"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.runs = self._told()["runs"]

    def _told(self) -> dict[str, Any]:
        assert self._process.stdout
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told

    def send(self, frames: str, count: int) -> None:
        assert self._process.stdin
        print(frames, count, file=self._process.stdin, flush=True)

    def predict(self, frames: str, count: int) -> dict[str, Any]:
        self.send(frames, count)
        return self._told()

    def answer(self) -> dict[str, Any]:
        """To what was sent."""
        return self._told()

    def close(self) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait(120)


def compressed(folder: Path, *sets: str) -> Path:
    fixed = ["export=[onnx]", "measure.profile=smoke", "budget={}", "allow_slower=true",
             f"teacher.checkpoint={ROOT}/recipes/models/mnist_resnet8"]  # fmt: skip
    command = [sys.executable, "-m", "compress", "run", str(RECIPE), "--quiet", "--out", str(folder)]
    for value in (*fixed, *sets):
        command += ["--set", value]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return folder / "bundle"


def changed(source: Path, target: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """A bundle with one file changed, and checksums that fit: what a broken build pipeline would sign and ship."""
    from dataclasses import replace

    shutil.copytree(source, target)
    manifest = read_manifest(source)
    content = change((source / name).read_bytes())
    (target / name).write_bytes(content)
    write_manifest(target, replace(manifest, files={**manifest.files, name: file_info(content)}))


def other_answers(data: bytes) -> bytes:
    arrays = read_npz(data, "reference")
    logits = {k: np.roll(v, 1, axis=1) for k, v in arrays.items() if k.startswith("logits")}
    with tempfile.TemporaryDirectory() as folder:
        write_npz(Path(folder) / "r.npz", {**arrays, **logits})
        return (Path(folder) / "r.npz").read_bytes()


def nan_when_overexposed(limit: float, data: bytes) -> bytes:
    """Adds 0 * log(limit - mean of the input) to the logits: nothing for digits, NaN for a frame nearly white."""
    model = onnx.load_from_string(data)
    graph = model.graph
    x, out = graph.input[0].name, graph.output[0].name
    for node in graph.node:
        for i, name in enumerate(node.output):
            node.output[i] = "sound" if name == out else name
    for name, value in (("limit", limit), ("nothing", 0.0)):
        graph.initializer.append(numpy_helper.from_array(np.float32([[value]]), name))
    graph.initializer.append(numpy_helper.from_array(np.array([0, -1], np.int64), "flat"))
    graph.node.extend([
        helper.make_node("Reshape", [x, "flat"], ["pixels"]),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], keepdims=1, **_axes(model)),
        helper.make_node("Sub", ["limit", "mean"], ["room"]),
        helper.make_node("Log", ["room"], ["log"]),
        helper.make_node("Mul", ["log", "nothing"], ["zero"]),
        helper.make_node("Add", ["sound", "zero"], [out]),
    ])  # fmt: skip
    content: bytes = model.SerializeToString()
    return content


def _axes(model: Any) -> dict[str, Any]:
    """ReduceMean takes its axes as an attribute up to opset 17; all axes but the batch are one here."""
    opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset < 18:
        return {"axes": [1]}
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "axes"))
    return {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="leave everything in this new folder")
    options = parser.parse_args()
    if reason := why_not():
        sys.exit(f"no board can run here: {reason}")
    with tempfile.TemporaryDirectory(prefix="pi-story-") as name:
        scratch = options.keep or Path(name)
        scratch.mkdir(exist_ok=True)
        story = Story(scratch)
        story.prepare()
        with Board(scratch / "pi", "cortex-a72") as board:
            story.play(board)
        result = {"command": "python benchmarks/pi_story.py", "label": "emulated", "cpu": "cortex-a72 (qemu)",
                  "chapters": story.chapters}  # fmt: skip
        (RESULTS / "pi_story.html").write_text(labelled((scratch / "monitor.html").read_text()))
        (RESULTS / "pi_story.json").write_text(json.dumps(result, indent=1) + "\n")
    failed = [c["title"] for c in story.chapters if not c["as_it_must_be"]]
    print("every chapter ended as it must" if not failed else f"FAILED: {failed}")
    return 1 if failed else 0


class Story:
    """Chapters, each with what the Pi said and whether it is as it must be."""

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.site = scratch, scratch / "site"
        self.chapters: list[dict[str, Any]] = []

    def chapter(self, title: str, ok: bool, **told: Any) -> None:
        self.chapters.append({"title": title, "as_it_must_be": bool(ok), **told})
        print(f"{'ok    ' if ok else 'FAILED'} {title}: {json.dumps(told)[:300]}", flush=True)

    def prepare(self) -> None:
        """Bundles, frames, and the wheel's content."""
        first = compressed(self.scratch / "v1")
        second = compressed(self.scratch / "v2", "data.calibration=64")
        third = compressed(self.scratch / "v3", "data.calibration=128")
        self.site.mkdir()
        for name, bundle in (("v1", first), ("v2", second), ("v3", third)):
            shutil.copytree(bundle, self.site / name)
        changed(first, self.site / "wrong", "reference.npz", other_answers)
        recipe = load_recipe(RECIPE)
        data = open_data(recipe.data, recipe.seed).load()
        rows = np.random.default_rng(0).permutation(len(data.test.x))[:NORMAL]
        x = np.asarray(data.test.x)[rows]
        white = np.full((1, *x.shape[1:]), 255, np.uint8)
        takes = read_manifest(third).preprocessing
        limit = (takes(x).mean(axis=(1, 2, 3)).max() + takes(white).mean()) / 2
        break_it = functools.partial(nan_when_overexposed, float(limit))
        changed(third, self.site / "fragile", "model.onnx", break_it)
        np.savez(self.scratch / "frames.npz", normal=x, rotated=np.rot90(x, axes=(1, 2)), white=white)
        (self.scratch / "kiosk.py").write_text(KIOSK)
        wheels, source = self.scratch / "wheels", self.scratch / "source"
        shutil.copytree(ROOT / "edge_runtime", source)  # building leaves things behind
        subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(wheels),
                        str(source), str(source / "ops")], check=True)  # fmt: skip
        for wheel in wheels.glob("*.whl"):
            shutil.unpack_archive(wheel, self.scratch / "app", "zip")

    def play(self, board: Board) -> None:
        handler = functools.partial(Quiet, directory=str(self.site))
        site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=site.serve_forever, daemon=True).start()
        url, pi = f"http://127.0.0.1:{site.server_port}", Pi(board)
        pi.put({"app": self.scratch / "app", "kiosk.py": self.scratch / "kiosk.py",
                "frames.npz": self.scratch / "frames.npz"})  # fmt: skip

        done = pi.runtime("update", "store", f"{url}/v1")
        v1 = current(done)
        self.chapter("the first version is installed", done.returncode == 0, said=said(done))
        kiosk = Kiosk(pi)
        told = kiosk.predict("normal", NORMAL)
        self.chapter("it predicts", told["versions"] == {v1: NORMAL} and not told["alarms"], told=told)

        kiosk.send("normal", 3 * NORMAL)
        done = pi.runtime("update", "store", f"{url}/v2", "--trial-calls", "100")
        v2, told = current(done), kiosk.answer()
        later = kiosk.predict("normal", NORMAL)
        ok = done.returncode == 0 and not told["errors"] and later["versions"] == {v2: NORMAL}
        self.chapter("an update while it predicts; no call is lost", ok, said=said(done), told=told, later=later)

        done = pi.runtime("update", "store", f"{url}/wrong")
        told = kiosk.predict("normal", 50)
        ok = done.returncode == 1 and "is not fit for this device" in done.stderr and told["versions"] == {v2: 50}
        self.chapter("a version that fails its self-test on the Pi is refused", ok, said=said(done), told=told)

        done = pi.runtime("update", "store", f"{url}/fragile", "--trial-calls", "5000")
        fragile = current(done)
        time.sleep(1)
        before, white = kiosk.predict("normal", 50), kiosk.predict("white", 1)
        after = kiosk.predict("normal", 50)
        ok = before["runs"] == fragile and white["versions"] == {v2: 1} and after["versions"] == {v2: 50}
        ok = ok and not white["errors"]
        self.chapter("a bad version is rolled back by itself; the call that shows it is answered", ok,
                     said=said(done), before=before, white=white, after=after)  # fmt: skip
        again = pi.runtime("update", "store", f"{url}/fragile")
        self.chapter("and not taken again", again.returncode == 1 and "was rejected before" in again.stderr,
                     said=said(again))  # fmt: skip
        kiosk.close()

        cut = subprocess.Popen(pi.python("-m", "edge_runtime", "update", "store", f"{url}/v3"),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        incoming = board.home() / "store" / "incoming"
        while not any(incoming.glob("*")) and cut.poll() is None:
            time.sleep(0.005)
        board.reboot()
        cut.wait()
        state = json.loads(pi.runtime("versions", "store", "--json").stdout)["versions"]
        runs = [v["version"] for v in state if v["state"] == "current"]
        done = pi.runtime("update", "store", f"{url}/v3", "--trial-calls", "0")
        v3 = current(done)
        self.chapter("the plug is pulled in the middle of an update; the old version runs, the update goes through",
                     runs == [v2] and v3 not in (None, v2), ran=runs, said=said(done))  # fmt: skip

        kiosk = Kiosk(pi)
        calm, drift = kiosk.predict("normal", NORMAL), kiosk.predict("rotated", DRIFTED)
        kiosk.close()
        ok = kiosk.runs == v3 and not calm["alarms"] and drift["alarm_after"] is not None
        self.chapter("the camera is turned; the monitor notices", ok, calm=calm, drift=drift)
        watch = pi.runtime("watch", "monitor.sqlite", "--json")
        self.chapter("`edge-runtime watch` says so", watch.returncode == 3 and "drift" in watch.stdout,
                     exit_code=watch.returncode, standing=json.loads(watch.stdout)["standing"])  # fmt: skip

        done = pi.runtime("queue", "export", "monitor.sqlite", "to_label", "--json")
        pi.get(["to_label", "monitor.sqlite"], self.scratch)
        site.shutdown()
        files = sorted(p.name for p in (self.scratch / "to_label").rglob("*") if p.is_file())
        items = json.loads(done.stdout)["items"]
        ok = done.returncode == 0 and items > 0 and len(files) > 0
        self.chapter("inputs worth a label come back from the Pi", ok, items=items, files=len(files))
        report = self.scratch / "monitor.html"
        command = [sys.executable, "-m", "compress", "report", str(self.scratch / "monitor.sqlite")]
        drawn = subprocess.run(command, capture_output=True, text=True)
        text = report.read_text() if report.exists() else ""
        self.chapter("the report shows it", "drift" in text.lower() and drawn.returncode == 0, bytes=len(text))
        history = json.loads(pi.runtime("versions", "store", "--history", "--json").stdout)["history"]
        events = [e["event"] for e in history]
        self.chapter("the store remembers", any(e.startswith("automatic rollback") for e in events), events=events)


def labelled(page: str) -> str:
    """The report with a word on its times: a monitor cannot know that its device is emulated."""
    return page.replace("<body>", f"<body>\n<p><strong>{NOTE}</strong></p>", 1)


def current(done: subprocess.CompletedProcess[str]) -> str | None:
    found = re.match(r"(\S+) is current", done.stdout)
    return found[1] if found else None


def said(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stdout + done.stderr).strip()


if __name__ == "__main__":
    sys.exit(main())
