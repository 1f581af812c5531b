"""kill -9 a run at random moments, start it again, and compare the bundle with that of an undisturbed run.

    python benchmarks/kill_resume.py [--tries 20] [--seed 0]

Each try has a cache of its own, is killed once at a moment drawn uniformly over the undisturbed run's duration, and is
then run to its end. A run that had ended before its moment came is no try and is drawn again. Writes
benchmarks/results/kill_resume.json; exits 1 if any bundle differs.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from compress.benchmark.host import host_facts

ROOT = Path(__file__).resolve().parents[1]
# The default recipe's chain on small nets and few images, so that 20 tries take minutes.
SHORT = [
    *("data.limit=800", "teacher={net: resnet8, args: {widths: [16, 24, 32]}, train: {epochs: 4}}"),
    *("student={net: ds-cnn, args: {width: 32, blocks: 2}}", "stages.0.distill.epochs=4"),
    *("stages.1.prune.finetune_epochs=3", "stages.2.quantize.epochs=3", "measure.profile=smoke"),
    *("budget={}", "allow_slower=true"),
]


def command(folder: Path) -> list[str]:
    sets = [part for value in SHORT for part in ("--set", value)]
    return [sys.executable, "-m", "compress", "run", str(ROOT / "recipes" / "distil_int8.yaml"), "--quiet",
            "--cache", str(folder / "cache"), "--out", str(folder / "run"), *sets]  # fmt: skip


def bundle_digest(folder: Path) -> str:
    h = hashlib.sha256()
    for path in sorted((folder / "run" / "bundle").rglob("*")):
        if path.is_file():
            h.update(path.relative_to(folder).as_posix().encode() + hashlib.sha256(path.read_bytes()).digest())
    return h.hexdigest()


def run_to_the_end(folder: Path) -> float:
    started = time.monotonic()
    done = subprocess.run(command(folder), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the run failed with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return time.monotonic() - started


def run_and_kill(folder: Path, after_s: float) -> bool:
    """Start a run and kill it with all its children; True if it was still running."""
    process = subprocess.Popen(
        command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    time.sleep(after_s)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return alive


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moments = random.Random(options.seed)  # noqa: S311
    rows = []
    with tempfile.TemporaryDirectory(prefix="kill-resume-") as scratch:
        whole_s = run_to_the_end(Path(scratch) / "undisturbed")
        want = bundle_digest(Path(scratch) / "undisturbed")
        print(f"undisturbed run: {whole_s:.1f} s, bundle {want[:16]}", flush=True)
        for draw in range(1, 3 * options.tries + 1):
            folder = Path(scratch) / f"try{draw}"
            after_s = moments.uniform(0.0, whole_s)
            hit = run_and_kill(folder, after_s)
            if hit:
                cached = len(list((folder / "cache").glob("??/*"))) if folder.exists() else 0
                resumed_s = run_to_the_end(folder)
                same = bundle_digest(folder) == want
                rows.append({"killed_after_s": round(after_s, 2), "finished_entries": cached,
                             "resumed_s": round(resumed_s, 2), "same_bundle": same})  # fmt: skip
                print(f"try {len(rows):2}: killed after {after_s:5.1f} s with {cached:2} cache entries, resumed in "
                      f"{resumed_s:5.1f} s, bundle {'equal' if same else 'DIFFERS'}", flush=True)  # fmt: skip
            shutil.rmtree(folder, ignore_errors=True)
            if len(rows) == options.tries:
                break
    result = {"command": " ".join(["python", "benchmarks/kill_resume.py", *sys.argv[1:]]),
              "undisturbed_s": round(whole_s, 2),
              "bundle_sha256": want, "same": sum(r["same_bundle"] for r in rows), "draws": draw, "tries": rows,
              "host": host_facts()}  # fmt: skip
    (ROOT / "benchmarks" / "results" / "kill_resume.json").write_text(json.dumps(result, indent=1) + "\n")
    print(f"{result['same']} of {len(rows)} ended with the same bundle")
    return 0 if result["same"] == len(rows) == options.tries else 1


if __name__ == "__main__":
    sys.exit(main())
