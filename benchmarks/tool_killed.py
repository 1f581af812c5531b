"""The tool is killed (SIGKILL) in the middle of a job on a device: how long until nothing of the job is left there?

    python benchmarks/tool_killed.py [--tries 5] [--seed 0]

The device is an emulated Raspberry Pi 4 behind a real sshd. The job starts a child in a session of its own, and both
sleep. Nobody tells the device that the tool is gone: its supervisor waits for the grace time (30 s here, 90 s by
default), then ends every process and removes the folder. Writes benchmarks/results/tool_killed.json; exits 1 if a
process or a folder stays.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edge_runtime.edge_host import host_facts

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from pi.board import Board, why_not  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "tool_killed.json"
GRACE_S = 30.0
TOOL = """
import sys
from pathlib import Path
from compress.devices.connection import open_device
from compress.devices.schema import Device
job = "import subprocess as s, time; s.Popen(['sleep', '900'], start_new_session=True); print('up'); time.sleep(900)"
open_device(Device.model_validate_json(sys.argv[1])).run_job(
    {}, ["{python}", "-c", job], results=Path(sys.argv[2]), on_output=lambda text: print(text, flush=True))
"""


def left_on(board: Board) -> list[str]:
    return board.processes() + [p.name for p in (board.home() / ".cache/compress-device").glob("job-*")]


def one_try(board: Board, folder: Path, after_s: float) -> dict[str, object]:
    device = board.device(grace_s=GRACE_S)
    tool = subprocess.Popen([sys.executable, "-c", TOOL, device.model_dump_json(), str(folder)], stdout=subprocess.PIPE)
    assert tool.stdout is not None
    first = tool.stdout.readline()
    time.sleep(after_s)
    before = board.processes()
    tool.kill()
    tool.wait()
    tool.stdout.close()
    started = time.monotonic()
    while left_on(board) and time.monotonic() - started < 6 * GRACE_S:
        time.sleep(0.2)
    return {"ran": first == b"up\n", "killed_after_s": round(after_s, 2), "processes_before": len(before),
            "clean_after_s": round(time.monotonic() - started, 1), "left_on_device": left_on(board)}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if reason := why_not():
        sys.exit(reason)
    draw, tries = random.Random(options.seed), []  # noqa: S311 - moments, not secrets
    with tempfile.TemporaryDirectory(prefix="tool-killed-") as scratch, Board(Path(scratch), "cortex-a72") as board:
        for i in range(options.tries):
            tries.append(one_try(board, Path(scratch) / f"try{i}", draw.uniform(0.0, 3.0)))
            print(f"try {i + 1}: {tries[-1]}", flush=True)
    clean = sum(bool(t["ran"]) and not t["left_on_device"] for t in tries)
    result = {"command": f"python benchmarks/tool_killed.py --tries {options.tries} --seed {options.seed}",
              "taken": time.strftime("%Y-%m-%d"), "grace_s": GRACE_S, "left_nothing": clean, "tries": tries,
              "host": host_facts()}  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{clean} of {len(tries)} left nothing behind")
    return 0 if clean == len(tries) else 1


if __name__ == "__main__":
    sys.exit(main())
