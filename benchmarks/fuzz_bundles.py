"""Damage bundles at random, open them in forked children, count how it ends.

    python benchmarks/fuzz_bundles.py --cases 15000          # about 40 minutes on one core

Every case changes one to four bytes of one file of a small bundle (or cuts it), and corrects the manifest's checksum,
as an attacker would; only a case of the manifest itself changes the manifest alone. The child loads the bundle,
predicts and runs the self-test. "engine alone" hands the same damaged files to the engines without edge_runtime's scan.

answer    it still ran            refused    an EdgeError, as promised
escaped   another exception       signal     the process died; "timeout" after 20 s
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
RESULTS = ROOT / "benchmarks" / "results" / "fuzz_bundles.json"
TARGETS = ("manifest.json", "model.onnx", "model.tflite", "reference.npz", "tokenizer.json")
LIMIT_S, LIMIT_BYTES = 20, 8 << 30
CODES = {0: "answer", 40: "refused", 99: "escaped"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=15_000, help="of each row")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--keep", type=Path, help="a folder for files that killed a process or let something escape")
    options = parser.parse_args()
    from edge_runtime.edge_host import host_facts

    warm_up()
    with tempfile.TemporaryDirectory() as name:
        bundles = make_bundles(Path(name))
        rows = {t: run(bundles, t, options, scanned=True) for t in TARGETS}
        for target in ("model.onnx", "model.tflite"):
            rows[f"{target}, engine alone"] = run(bundles, target, options, scanned=False)
    report = {
        "command": f"python benchmarks/fuzz_bundles.py --cases {options.cases}", "cases": options.cases,
        "seed": options.seed, "versions": versions(), "rows": rows, "host": host_facts(),
    }  # fmt: skip
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"wrote {options.out}")


def warm_up() -> None:
    """Import what every child needs; an engine's modules survive a fork, its sessions would not."""
    import tokenizers  # noqa: F401
    from edge_runtime._onnx import import_onnxruntime

    import_onnxruntime()


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("onnxruntime", "ai-edge-litert", "tokenizers", "numpy")}


def make_bundles(folder: Path) -> list[Path]:
    """Images as float and int8 in both formats, and texts: what the tests use."""
    from tests.edge_runtime import conftest, tiny_texts

    for name, kinds in {"float": ("onnx", "tflite"), "int8": ("onnx-uint8", "tflite-int8")}.items():
        conftest.write_bundle(folder / name, kinds)
    tiny_texts.write_text_bundle(folder / "texts")
    return [folder / name for name in ("float", "int8", "texts")]


def run(bundles: list[Path], target: str, options: argparse.Namespace, *, scanned: bool) -> dict[str, int]:
    rng = random.Random(f"{options.seed} {target}")  # noqa: S311 - damage, not a secret
    candidates = [b for b in bundles if (b / target).exists()]
    ends: collections.Counter[str] = collections.Counter()
    start = time.monotonic()
    for case in range(options.cases):
        bundle = candidates[case % len(candidates)]
        body = damaged((bundle / target).read_bytes(), rng)
        end = child(bundle, target, body, scanned)
        ends[end] += 1
        if options.keep and end not in ("answer", "refused"):
            options.keep.mkdir(exist_ok=True)
            (options.keep / f"{bundle.name}.{case}.{end}.{target}").write_bytes(body)
    print(f"{target}{'' if scanned else ', engine alone'}: {dict(ends)}, {time.monotonic() - start:.0f} s", flush=True)
    return dict(sorted(ends.items()))


def damaged(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(out))
        out[at] = rng.choice((rng.randrange(256), 0, 127, 128, 255, out[at] ^ (1 << rng.randrange(8))))
    return bytes(out[: rng.randrange(len(out))] if rng.random() < 0.1 else out)


def child(bundle: Path, target: str, body: bytes, scanned: bool) -> str:
    pid = os.fork()
    if pid == 0:
        signal.alarm(LIMIT_S)
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        code = 99
        with contextlib.suppress(BaseException):
            code = try_it(bundle, target, body, scanned)
        os._exit(code)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return "timeout" if number == signal.SIGALRM else f"signal {number}"
    return CODES[os.WEXITSTATUS(status)]


def try_it(source: Path, target: str, body: bytes, scanned: bool) -> int:
    import edge_runtime
    import numpy as np
    from edge_runtime.files import file_info

    example: Any = "a good film" if source.name == "texts" else np.zeros((4, 5), np.uint8)
    if not scanned:
        import edge_runtime.model

        edge_runtime.model.scan_model = lambda format, data, where: frozenset()
    bundle = Path(tempfile.mkdtemp(dir=source.parent)) / "b"
    try:
        shutil.copytree(source, bundle)
        (bundle / target).write_bytes(body)
        if target != "manifest.json":
            manifest = json.loads((source / "manifest.json").read_text())
            manifest["files"][target] = dataclasses.asdict(file_info(body))
            (bundle / "manifest.json").write_text(json.dumps(manifest))
        format = target.rpartition(".")[2] if target.startswith("model") else None
        with edge_runtime.load(bundle, engine=format) as model:
            model.predict(example)
            model.check()
    except edge_runtime.EdgeError as error:
        str(error).encode()
        return 40
    finally:
        shutil.rmtree(bundle.parent)
    return 0


if __name__ == "__main__":
    main()
