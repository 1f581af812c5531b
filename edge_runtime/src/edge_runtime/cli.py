"""The command line: `edge-runtime info|check|predict|bench BUNDLE`.

Exit codes: 0 fine; 1 the bundle, the engine or the self-test failed; 2 the call or its input was wrong.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime import __version__
from edge_runtime.errors import EdgeError, EngineError
from edge_runtime.files import verify_files
from edge_runtime.inputs import as_array
from edge_runtime.manifest import Manifest, read_manifest
from edge_runtime.model import ENGINES, Model, Prediction, load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_WARM_UP_RUNS, _WARM_UP_S = 20, 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; print errors, never tracebacks. Returns the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a label that the terminal cannot show is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        answer, lines, code = options.command(options)
        print(json.dumps(answer, indent=2) if options.json else "\n".join(lines), flush=True)
    except EdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, for example `head`, has seen enough
        sys.stderr.close()
        return 0
    return int(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-runtime", description="Inspect and run a compress bundle.")
    parser.add_argument("--version", action="version", version=f"edge-runtime {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, help: str, command: Callable[[Any], Any], *, runs: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(command=command)
        sub.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder that holds manifest.json")
        sub.add_argument("--json", action="store_true", help="print JSON instead of text")
        if runs:
            sub.add_argument("--engine", choices=tuple(ENGINES), help="default: the first one that is installed")
            sub.add_argument("--threads", type=_positive, default=1, metavar="N", help="CPU threads (default 1)")
        return sub

    add("info", "what a bundle holds; starts no engine", _info, runs=False)
    add("check", "compare all checksums and run the self-test on this device", _check)
    predict = add("predict", "label .npy or image files", _predict)
    predict.add_argument("files", nargs="+", metavar="FILE", help=".npy (one example or a batch) or an image")
    predict.add_argument("--top", type=_positive, default=1, metavar="K", help="labels to show per example (default 1)")
    bench = add("bench", "time one example on this device", _bench)
    bench.add_argument("--runs", type=_positive, default=500, metavar="N", help="timed runs (default 500)")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{value} is not from 1 to 1,000,000")
    return value


def _info(options: argparse.Namespace) -> tuple[Any, list[str], int]:
    manifest = read_manifest(options.bundle)
    shown = ", ".join(manifest.labels[:12]) + (", ..." if len(manifest.labels) > 12 else "")
    rows = [
        ("name", manifest.name),
        ("made by", manifest.created_by),
        ("task", manifest.task),
        ("labels", f"{len(manifest.labels)}: {shown}"),
        ("input", manifest.preprocessing.describe()),
    ]
    for model in manifest.models:
        size = f"{manifest.files[model.path].size_bytes:,} bytes"
        tensor = f"{model.input.dtype} {list(model.input.shape)} {model.input.layout}"
        rows.append((model.format, f"{model.path}, {model.precision}, {size}, input {tensor}"))
    test = manifest.self_test
    rows.append(("self-test", f"agreement {test.agreement:.1%}, logits within {test.largest_difference:.3g}"))
    return manifest.to_json(), _aligned(rows), 0


def _check(options: argparse.Namespace) -> tuple[Any, list[str], int]:
    manifest = read_manifest(options.bundle)
    verify_files(options.bundle, manifest.files)
    answer: dict[str, Any] = {"bundle": manifest.name, "files_ok": True, "models": {}}
    rows = [("files", f"{len(manifest.files)} checksums are right")]
    for format in _formats(manifest, options.engine):
        try:
            with load(options.bundle, engine=format, threads=options.threads) as model:
                report, engine = model.check(), model.engine
        except EngineError as error:
            if options.engine or not isinstance(error.__cause__, ImportError):
                raise
            rows.append((format, f"not run: {error.what}"))
            answer["models"][format] = {"ok": None, "message": error.what}
            continue
        rows.append((format, f"{report.message} [{engine}]"))
        answer["models"][format] = {**asdict(report), "engine": engine}
    outcomes = [m["ok"] for m in answer["models"].values()]
    if all(ok is None for ok in outcomes):
        fixes = " or ".join(f"edge-runtime[{m.format}]" for m in manifest.models)
        raise EngineError("no engine of this bundle is installed", str(options.bundle), f"pip install {fixes}")
    answer["ok"] = False not in outcomes
    return answer, _aligned(rows), 0 if answer["ok"] else 1


def _formats(manifest: Manifest, wanted: str | None) -> list[str]:
    return [wanted] if wanted else [m.format for m in manifest.models]


def _predict(options: argparse.Namespace) -> tuple[Any, list[str], int]:
    answer, rows = [], [("file", "label", "score", "ms")]
    with load(options.bundle, engine=options.engine, threads=options.threads) as model:
        labels = model.manifest.labels
        for file in options.files:
            for name, prediction in _label(model, file):
                best = np.argsort(-prediction.scores, kind="stable")[: options.top]
                top = [{"label": labels[i], "index": int(i), "score": float(prediction.scores[i])} for i in best]
                answer.append({"file": name, "top": top, "latency_ms": prediction.latency_ms})
                for rank, entry in enumerate(top):
                    first, last = (name, f"{prediction.latency_ms:.3f}") if rank == 0 else ("", "")
                    rows.append((first, str(entry["label"]), f"{entry['score']:.4f}", last))
    return answer, _aligned(rows), 0


def _label(model: Model, file: str) -> list[tuple[str, Prediction]]:
    """Predictions of a file; of each of its examples if it holds a batch."""
    array = as_array(file, model.manifest.preprocessing)
    ranks = model.manifest.preprocessing.example_ranks
    trailing_channel = len(ranks) == 2 and array.ndim == 3 and array.shape[2] == 1
    if array.ndim == min(ranks) or trailing_channel or array.ndim - 1 not in ranks:
        return [(file, model.predict(array))]
    return [(f"{file}[{i}]", p) for i, p in enumerate(model.predict_batch(array))]


def _bench(options: argparse.Namespace) -> tuple[Any, list[str], int]:
    with load(options.bundle, engine=options.engine, threads=options.threads) as model:
        example = model.reference()[0][0]
        prepared = model.prepare(example)
        engine_ms = _times_ms(lambda: model.run(prepared), options.runs)
        predict_ms = _times_ms(lambda: model.predict(example), options.runs)
        facts = {"engine": model.engine, "model": model.entry.path, "threads": options.threads, "runs": options.runs}
    columns = ("p50", "p90")
    answer: dict[str, Any] = {**facts, "kind": "measured"}
    rows = [(f"{facts['model']}, {facts['engine']}, threads {options.threads}", *(f"{c} ms" for c in columns))]
    for name, times_ms in (("engine call", engine_ms), ("predict", predict_ms)):
        p50, p90 = (float(v) for v in np.percentile(times_ms, [50, 90]))
        answer[name.replace(" ", "_")] = {"p50_ms": p50, "p90_ms": p90}
        rows.append((name, f"{p50:.4f}", f"{p90:.4f}"))
    return answer, [*_aligned(rows), f"{options.runs} runs each; measured on this machine as it was loaded"], 0


def _times_ms(call: Callable[[], object], runs: int) -> list[float]:
    clock, out = time.perf_counter, []
    end, done = clock() + _WARM_UP_S, 0
    while done < _WARM_UP_RUNS or clock() < end:
        call()
        done += 1
    for _ in range(runs):
        start = clock()
        call()
        out.append((clock() - start) * 1e3)
    return out


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines with columns under each other."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
