"""SIGKILL a store's process at random moments; after each, does a version run, and does the next update go through?

    python benchmarks/store_kill.py [--updates 150] [--trials 50] [--seed 0]

Updates: `edge-runtime update STORE http://...` to a second version (download, verify, self-test, switch) is killed with
its children at a moment drawn uniformly over the undisturbed command's duration, after its imports. Trials: a process
that opens a store whose current version fails its trial (its latency limit cannot be met) is killed within the calls
around the automatic rollback. After each kill: the state is readable, every folder under versions/ is whole, the store
opens and predicts what one of the two versions predicts; the interrupted work is then done again, to its end.
A kill that came too late to hit is drawn again. Writes benchmarks/results/store_kill.json; exits 1 on any failure.

A kill leaves the kernel's cache alone. That files also reach the disk in the right order is a test of its own
(tests/edge_runtime/store/test_store.py, every_file_is_synced).
"""

import argparse
import functools
import http.server
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import edge_runtime
import numpy as np
from edge_runtime.errors import EdgeError
from edge_runtime.files import verify_files
from edge_runtime.manifest import read_manifest
from edge_runtime.store import Limits, Store
from random_bundle import SIDE, random_bundle

from compress.benchmark.host import host_facts

RESULTS = Path(__file__).parent / "results" / "store_kill.json"
IMAGE = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE), np.uint8)
UPDATE = """
import sys
from edge_runtime.cli import main
import edge_runtime.store, edge_runtime.model
print("go", flush=True)
sys.exit(main(["update", *sys.argv[1:]]))
"""
TRIAL = """
import sys, numpy as np
from edge_runtime.store import Store
image = np.zeros((28, 28), np.uint8)
with Store(sys.argv[1]).open() as model:
    model.predict(image)
    print("go", flush=True)
    for _ in range(24):
        model.predict(image)
"""
NO_TRIAL = Limits(calls=0)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def start(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    return process


def finished(process: subprocess.Popen[bytes]) -> int:
    code = process.wait()
    if process.stdout is not None:
        process.stdout.close()
    return code


def kill(process: subprocess.Popen[bytes], after_s: float) -> bool:
    """True if it was still at work."""
    time.sleep(after_s)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    finished(process)
    return alive


def faults(store_folder: Path, expected: dict[str, bytes]) -> tuple[str, list[str]]:
    """What stands after a kill, in a word; and everything that is wrong with it."""
    out, store = [], Store(store_folder)
    try:
        state = store.state()
        for folder in (store_folder / "versions").iterdir():
            verify_files(folder, read_manifest(folder).files)
        with store.open(refresh_s=None) as model:
            answer = model.answer([IMAGE])
            if answer.predictions[0].scores.tobytes() != expected[answer.version]:
                out.append(f"{answer.version} answers something else")
    except EdgeError as error:
        return "broken", [str(error)]
    left = any((store_folder / "incoming").iterdir())
    old = next(iter(expected))
    word = "old version" if state.current == old else "new version, on trial" if state.trial else "new version"
    return word + (", download left" if left else ""), out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=150)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moments = random.Random(options.seed)  # noqa: S311
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="store-kill-") as name:
        scratch = Path(name)
        for version, seed in (("v1", 1), ("v2", 2)):
            random_bundle(scratch / "site" / version, "resnet8", {"widths": [32, 64, 96]}, seed)
        handler = functools.partial(Quiet, directory=str(scratch / "site"))
        site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=site.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{site.server_port}/v2"
        base = Store.create(scratch / "base")
        base.update(scratch / "site" / "v1", limits=NO_TRIAL)
        before = {"update": scratch / "base", "trial": scratch / "trial"}
        shutil.copytree(before["update"], before["trial"])
        Store(before["trial"]).update(scratch / "site" / "v2", limits=Limits(calls=10_000, latency_ms=1e-6))
        expected: dict[str, bytes] = {}
        for version in (base.state().current, Store(before["trial"]).state().current):
            with edge_runtime.load(before["trial"] / "versions" / str(version)) as model:
                expected[str(version)] = model.predict_batch([IMAGE])[0].scores.tobytes()
        for kind, tries, code, arguments in (("update", options.updates, UPDATE, (url, "--trial-calls", "0")),
                                             ("trial", options.trials, TRIAL, ())):  # fmt: skip
            undisturbed = scratch / "undisturbed"
            shutil.copytree(before[kind], undisturbed)
            process = start(code, str(undisturbed), *arguments)
            began = time.monotonic()
            if finished(process):
                sys.exit(f"an undisturbed {kind} fails")
            whole_s = time.monotonic() - began
            shutil.rmtree(undisturbed)
            print(f"undisturbed {kind}: {whole_s:.3f} s", flush=True)
            done = 0
            while done < tries:
                folder, after_s = scratch / "store", moments.uniform(0.0, whole_s)
                shutil.copytree(before[kind], folder)
                if kill(start(code, str(folder), *arguments), after_s):
                    word, wrong = faults(folder, expected)
                    if finished(start(code, str(folder), *arguments)):
                        wrong.append("the same work fails afterwards")
                    goal = list(expected)[1 if kind == "update" else 0]
                    if Store(folder).state().current != goal:
                        wrong.append("the same work does not reach its end afterwards")
                    rows.append({"kind": kind, "killed_after_s": round(after_s, 4), "found": word, "faults": wrong})
                    done += 1
                    if wrong or done % 25 == 0:
                        print(f"{kind} {done}: {word} {wrong or ''}", flush=True)
                shutil.rmtree(folder)
        site.shutdown()
    return save(rows, RESULTS)


def save(rows: list[dict[str, Any]], path: Path) -> int:
    """Write what the kills of a benchmark left: kind, found, faults. 1 if one left something broken."""
    found = Counter(f"{r['kind']}: {r['found']}" for r in rows)
    failed = sum(bool(r["faults"]) for r in rows)
    result = {"command": " ".join(["python", f"benchmarks/{path.stem}.py", *sys.argv[1:]]), "label": "measured",
              "kills": len(rows), "failed": failed, "found": dict(sorted(found.items())), "tries": rows,
              "host": host_facts()}  # fmt: skip
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["found"], indent=1), f"\n{failed} of {len(rows)} kills left something broken")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
