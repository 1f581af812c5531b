"""A link dead for 12 s in the middle of a job on a device: what is lost, what is left?

    python benchmarks/link_cut.py [--tries 20] [--seed 0]

The device is an emulated Raspberry Pi 4 behind a real sshd; a TCP proxy between OpenSSH's client and it is the link.
Each try runs a job of some seconds that prints numbered lines and leaves a file of random bytes; the cut begins at a
moment drawn uniformly over the undisturbed job's duration, from copying to fetching; if the job ends before its
moment, that is no try, and it is drawn again. In every second try the old connections are dead after the cut, in the
others they stall and go on. A try counts if every line came once and in order, the file is equal, and neither a
process nor a folder of the job is left. Writes benchmarks/results/link_cut.json; exits 1 if a try fails.
"""

import argparse
import hashlib
import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

from edge_runtime.edge_host import host_facts

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from pi.board import Board, why_not  # noqa: E402
from pi.proxy import Proxy  # noqa: E402

from compress.devices.connection import open_device  # noqa: E402
from compress.errors import CompressError  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "link_cut.json"
CUT_S, LINES = 12.0, 50
JOB = f"""
import shutil, time
for i in range({LINES}):
    print("line", i, flush=True)
    time.sleep(0.2)
shutil.copy("random.bin", "out/random.bin")
"""


def left_on(board: Board) -> list[str]:
    return board.processes() + [p.name for p in (board.home() / ".cache/compress-device").glob("job-*")]


def wait_until_clean(board: Board, limit_s: float) -> float:
    started = time.monotonic()
    while left_on(board) and time.monotonic() - started < limit_s:
        time.sleep(0.2)
    return time.monotonic() - started


def one_try(board: Board, folder: Path, data: bytes, cut_after_s: float | None, resets: bool) -> dict[str, object]:
    folder.mkdir()
    (folder / "main.py").write_text(JOB)
    (folder / "random.bin").write_bytes(data)
    files = {name: folder / name for name in ("main.py", "random.bin")}
    said: list[str] = []
    with Proxy(board.sshd.port) as proxy:
        device = board.device(port=proxy.port, grace_s=120.0)
        hit = threading.Event()

        def cut() -> None:
            hit.set()
            proxy.cut(CUT_S, resets)

        timer = threading.Timer(cut_after_s or 0.0, cut)
        if cut_after_s is not None:
            timer.start()
        started, error, events = time.monotonic(), "", ()
        try:
            done = open_device(device).run_job(
                files, ["{python}", "main.py"], results=folder / "out", on_output=said.append
            )
            events = done.events
        except CompressError as failure:
            error = str(failure)
        seconds, was_hit = time.monotonic() - started, hit.is_set()
        timer.cancel()
        if was_hit:
            timer.join()
    found = folder / "out" / "random.bin"
    same = found.exists() and hashlib.sha256(found.read_bytes()).digest() == hashlib.sha256(data).digest()
    whole = "".join(said) == "".join(f"line {i}\n" for i in range(LINES))
    wait_until_clean(board, 10)
    left = left_on(board)
    return {
        "cut_after_s": cut_after_s and round(cut_after_s, 2), "connections_reset": resets, "seconds": round(seconds, 2),
        "hit": was_hit, "lines_whole": whole, "file_equal": same, "left_on_device": left, "events": list(events),
        "error": error, "ok": whole and same and not left and not error,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if reason := why_not():
        sys.exit(reason)
    draw = random.Random(options.seed)  # noqa: S311 - moments, not secrets
    data = draw.randbytes(300_000)
    tries: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="link-cut-") as scratch, Board(Path(scratch), "cortex-a72") as board:
        undisturbed = one_try(board, Path(scratch) / "undisturbed", data, None, False)
        print(f"undisturbed: {undisturbed['seconds']} s, {'ok' if undisturbed['ok'] else undisturbed}", flush=True)
        draws = 0
        while len(tries) < options.tries and draws < 3 * options.tries:
            draws += 1
            moment = draw.uniform(0.0, float(str(undisturbed["seconds"])))
            resets = len(tries) % 2 == 1
            found = one_try(board, Path(scratch) / f"try{draws}", draw.randbytes(300_000), moment, resets)
            if found["ok"] and not found["hit"]:  # the job had ended before its moment came: no try, drawn again
                continue
            tries.append(found)
            print(f"try {len(tries):2}: cut after {moment:4.1f} s, {tries[-1]['seconds']} s in all, "
                  f"{'nothing lost' if tries[-1]['ok'] else tries[-1]}", flush=True)  # fmt: skip
    command = f"python benchmarks/link_cut.py --tries {options.tries} --seed {options.seed}"
    good = sum(bool(t["ok"]) for t in tries)
    result = {"command": command, "taken": time.strftime("%Y-%m-%d"), "cut_s": CUT_S, "nothing_lost": good,
              "draws": draws, "undisturbed": undisturbed, "tries": tries, "host": host_facts()}  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{good} of {len(tries)} lost nothing")
    return 0 if good == len(tries) == options.tries else 1


if __name__ == "__main__":
    sys.exit(main())
