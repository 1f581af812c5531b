"""Does memory stay flat over a million calls of predict?

    python benchmarks/million_calls.py               # both engines; about 2 minutes

One fresh process an engine, a tiny classifier, an array of a fresh random image for every call. Resident memory (VmRSS)
is read after a warm-up of 20,000 calls and then every 20,000; growth is the last reading minus the first, and the
slope of a line through all readings.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
RESULTS = Path(__file__).resolve().parent / "results" / "million_calls.json"
WARM_UP, STEP, GOAL_BYTES = 20_000, 20_000, 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", nargs=2, metavar=("BUNDLE", "FORMAT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(call_often(*options.child, options.calls)))
        return
    from edge_runtime.edge_host import host_facts
    from runtime_overhead import write_bundles

    report: dict[str, Any] = {
        "command": f"python benchmarks/million_calls.py --calls {options.calls}",
        "label": "measured", "calls": options.calls, "goal_bytes": GOAL_BYTES, "engines": {}, "host": host_facts(),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        write_bundles(Path(folder))
        for format in ("onnx", "tflite"):
            command = [sys.executable, __file__, "--calls", str(options.calls), "--child", f"{folder}/tiny", format]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(done.stderr)
            row = report["engines"][format] = json.loads(done.stdout)
            growth = f"growth {row['growth_bytes']:,} bytes, slope {row['slope_bytes_per_million']:,} a million calls"
            print(f"{row['engine']}: {growth}, {row['seconds']:.0f} s")
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"wrote {options.out}")


def call_often(bundle: str, format: str, calls: int) -> dict[str, Any]:
    import edge_runtime
    import numpy as np

    images = np.random.default_rng(0).integers(0, 256, (256, 28, 28), np.uint8)
    start = time.perf_counter()
    with edge_runtime.load(bundle, engine=format) as model:
        for i in range(WARM_UP):
            model.predict(images[i & 255].copy())
        rss = [resident_bytes()]
        for done in range(0, calls, STEP):
            for i in range(done, min(done + STEP, calls)):
                model.predict(images[i & 255].copy())
            rss.append(resident_bytes())
        slope = float(np.polyfit(np.arange(len(rss)) * STEP, np.array(rss, float), 1)[0])
        return {
            "engine": model.engine, "growth_bytes": rss[-1] - rss[0], "slope_bytes_per_million": round(slope * 1e6),
            "seconds": time.perf_counter() - start, "rss_bytes": rss,
        }  # fmt: skip


def resident_bytes() -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:")) * 1024


if __name__ == "__main__":
    main()
