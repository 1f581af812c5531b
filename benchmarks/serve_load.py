"""`edge-runtime serve` under load from wrk, against a bare loop around the engine, turn by turn on the same machine.

    python benchmarks/serve_load.py [--seconds 300] [--turns 10] [--connections 32]

The model is a random-weight ResNet of about 1 ms (ONNX, one thread). A turn is a stretch of load on the server, which
runs all the time, then a stretch of the bare loops: the same engine and inputs in a process of its own, without any
server, one example a call and in batches of the size that the server uses. Throughput is compared within turns, so that
other work on the machine hits both. Bodies are .npy images, one a request, over kept-alive connections.
The server's memory and CPU time are read from /proc. Writes benchmarks/results/serve_load.json.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from random_bundle import SIDE, random_bundle

from compress.benchmark.host import host_facts

RESULTS = Path(__file__).parent / "results" / "serve_load.json"
NET = ("resnet8", {"widths": [48, 96, 144]})
# wrk calls `done` at the end; latencies are in microseconds.
SCRIPT = """
local file = io.open("%s", "rb")
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "application/x-npy"
file:close()
function done(summary, latency, requests)
  local e = summary.errors
  print(string.format('{"requests": %%d, "seconds": %%.3f, "not_2xx": %%d, ' ..
    '"connect": %%d, "read": %%d, "write": %%d, ' ..
    '"timeout": %%d, "p50_ms": %%.3f, "p90_ms": %%.3f, "p99_ms": %%.3f, "p999_ms": %%.3f, "max_ms": %%.3f}',
    summary.requests, summary.duration / 1e6, e.status, e.connect, e.read, e.write, e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(90) / 1e3, latency:percentile(99) / 1e3,
    latency:percentile(99.9) / 1e3, latency.max / 1e3))
end
"""
BARE = """
import json, sys, time
import numpy as np
import edge_runtime
model = edge_runtime.load(sys.argv[1])
image = np.load(sys.argv[2])
for line in sys.stdin:
    batch, seconds = json.loads(line)
    prepared = np.concatenate([model.prepare(image)] * batch)
    clock = time.perf_counter
    start, calls, cpu = clock(), 0, time.process_time()
    while clock() - start < seconds:
        model.run(prepared)
        calls += 1
    took = clock() - start
    out = {"batch": batch, "examples": calls * batch, "seconds": took, "cpu_s": time.process_time() - cpu}
    print(json.dumps(out), flush=True)
"""


def process_facts(pid: int) -> dict[str, float]:
    """Resident memory and CPU time of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    rss = re.search(r"VmRSS:\s+(\d+) kB", status)
    ticks = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    assert rss
    return {"rss_kb": int(rss[1]), "cpu_s": (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")}


def load(port: int, script: Path, seconds: float, connections: int) -> dict[str, Any]:
    command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds:g}s", "--timeout", "10s", "-s", str(script),
               f"http://127.0.0.1:{port}/v1/predict"]  # fmt: skip
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(out[out.rindex("{") : out.rindex("}") + 1])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300, help="of load in all")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    turns: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="serve-load-") as name:
        scratch = Path(name)
        bundle = random_bundle(scratch / "bundle", NET[0], NET[1], 1)
        np.save(scratch / "image.npy", np.random.default_rng(1).integers(0, 256, (SIDE, SIDE), np.uint8))
        (scratch / "post.lua").write_text(SCRIPT % (scratch / "image.npy"))
        server = subprocess.Popen([sys.executable, "-m", "edge_runtime", "serve", str(bundle), "--port", "0"],
                                  stderr=subprocess.PIPE, text=True)  # fmt: skip
        bare = subprocess.Popen([sys.executable, "-c", BARE, str(bundle), str(scratch / "image.npy")], text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        assert server.stderr
        assert bare.stdin
        assert bare.stdout
        banner = server.stderr.readline() + server.stderr.readline()
        port, batch = (int(m[1]) for m in (re.search(p, banner) for p in (r":(\d+)\n", r"up to (\d+) ")) if m)
        print(banner, end="", flush=True)
        load(port, scratch / "post.lua", 2, options.connections)  # warm up
        each_s = options.seconds / options.turns
        for number in range(options.turns):
            before, began = process_facts(server.pid), time.time()
            served = load(port, scratch / "post.lua", each_s, options.connections)
            after = process_facts(server.pid)
            loops = []
            for size in dict.fromkeys((1, batch)):
                print(json.dumps([size, each_s / 4]), file=bare.stdin, flush=True)
                loops.append(json.loads(bare.stdout.readline()))
            single = load(port, scratch / "post.lua", max(each_s / 10, 1), 1)
            cpu_ms = (after["cpu_s"] - before["cpu_s"]) / served["requests"] * 1e3
            turn = {"at_s": round(began), "served": served, "bare": loops, "one_connection": single,
                    "server_rss_kb": after["rss_kb"], "load_average": os.getloadavg()[0],
                    "server_cpu_ms_per_request": cpu_ms}  # fmt: skip
            turns.append(turn)
            rate = served["requests"] / served["seconds"]
            rates = [b["examples"] / b["seconds"] for b in loops]
            print(f"turn {number + 1}: served {rate:.0f}/s, bare {rates[0]:.0f}/s, in batches {rates[-1]:.0f}/s, "
                  f"p99 {served['p99_ms']:.1f} ms, {after['rss_kb'] / 1024:.1f} MB", flush=True)  # fmt: skip
        server.terminate()
        exit_code = server.wait(30)
        bare.stdin.close()
        bare.wait(30)
    keys = ("not_2xx", "connect", "read", "write", "timeout")
    shares = [[t["served"]["requests"] / t["served"]["seconds"] / (b["examples"] / b["seconds"]) for b in t["bare"]]
              for t in turns]  # fmt: skip
    result = {
        "command": " ".join(["python", "benchmarks/serve_load.py", *sys.argv[1:]]),
        "label": "measured",
        "batch_size": batch,
        "connections": options.connections,
        "requests": sum(t["served"]["requests"] for t in turns),
        "errors": sum(t["served"][k] for t in turns for k in keys),
        "served_per_s": statistics.median(t["served"]["requests"] / t["served"]["seconds"] for t in turns),
        "bare_per_s": statistics.median(t["bare"][0]["examples"] / t["bare"][0]["seconds"] for t in turns),
        "bare_batched_per_s": statistics.median(t["bare"][-1]["examples"] / t["bare"][-1]["seconds"] for t in turns),
        "bare_cpu_ms_per_example": statistics.median(
            t["bare"][0]["cpu_s"] / t["bare"][0]["examples"] * 1e3 for t in turns
        ),
        "server_cpu_ms_per_request": statistics.median(t["server_cpu_ms_per_request"] for t in turns),
        "share_of_bare": statistics.median(s[0] for s in shares),
        "share_of_bare_batched": statistics.median(s[-1] for s in shares),
        "p50_ms": statistics.median(t["served"]["p50_ms"] for t in turns),
        "p99_ms_worst_turn": max(t["served"]["p99_ms"] for t in turns),
        "one_connection_p50_ms": statistics.median(t["one_connection"]["p50_ms"] for t in turns),
        "rss_kb_first_and_last": [turns[0]["server_rss_kb"], turns[-1]["server_rss_kb"]],
        "server_exit_code": exit_code,
        "turns": turns,
        "host": host_facts(),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k not in ("turns", "host")}, indent=1))
    return 1 if result["errors"] or exit_code else 0


if __name__ == "__main__":
    sys.exit(main())
