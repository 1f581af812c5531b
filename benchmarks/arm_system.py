"""How long the emulated ARM systems take to build from nothing, and how large they are.

    python benchmarks/arm_system.py

Builds both into an empty cache, downloads included, and runs the engines in them once. Writes
benchmarks/results/arm_system.json; exits 1 if one took more than 120 s or 300 MB.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from edge_runtime.edge_host import host_facts

RESULTS = Path(__file__).parent / "results" / "arm_system.json"
GOAL_S, GOAL_BYTES = 120.0, 300e6
HELLO = {
    "cortex-a72": "import numpy, onnxruntime, ai_edge_litert.interpreter, tokenizers; print(numpy.__version__)",
    "cortex-a7": "import numpy, tflite_runtime.interpreter; print(numpy.__version__)",
}


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="arm-system-") as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        from compress.emulation.cpus import CPUS
        from compress.emulation.launch import run_python
        from compress.emulation.system import arm_system, built_facts

        rows = []
        for name, code in HELLO.items():
            machine, started = CPUS[name].machine, time.monotonic()
            arm_system(machine)
            seconds = time.monotonic() - started
            says = run_python(CPUS[name], ["-c", code]).strip()
            rows.append({**built_facts(machine), "seconds": round(seconds, 1), "numpy": says})
            print(f"{machine}: {seconds:.0f} s, {rows[-1]['size_bytes'] / 1e6:.0f} MB", flush=True)
    ok = all(r["seconds"] <= GOAL_S and r["size_bytes"] <= GOAL_BYTES for r in rows)
    result = {"command": "python benchmarks/arm_system.py", "taken": time.strftime("%Y-%m-%d"), "systems": rows,
              "goal_s": GOAL_S, "goal_bytes": GOAL_BYTES, "ok": ok, "host": host_facts()}  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
