"""Measure bundles on the machine this runs on: `edge-bench BUNDLE`, or `python3 edge_bench.py BUNDLE` as a copied file.

Start it on the device, by hand or through `compress measure --device`. It prints a table and writes, with --out, the
JSON document that `compress measure --read FILE` turns into a report. The protocol is edge_runtime.edge_protocol.

Exit codes: 0 measured; 1 void, or the bundle, the engine or a process failed; 2 the call was wrong; 3 the device is
being measured by somebody else.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime import __version__
from edge_runtime.edge_events import told
from edge_runtime.edge_protocol import PROFILES, Job, MeasureError, Subject, measure, read_job
from edge_runtime.errors import EdgeError, InputError
from edge_runtime.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class BusyError(MeasureError):
    """Somebody else measures on this machine."""

    exit_code = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; print errors, never tracebacks. Returns the exit code."""
    options = _parser().parse_args(arguments)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception, which ends the process at work
    try:
        if options.out and not (options.out.parent.is_dir() and os.access(options.out.parent, os.W_OK)):
            raise InputError("its folder is not there or cannot be written", str(options.out), "give another --out")
        job = make_job(options)
        with held(f"edge-bench {options.bundle or options.job}"):
            document = measure(job, _say if options.progress else lambda *_: None)
        print("\n".join(lines(document)), flush=True)  # first: a disk that is full by now costs the file alone
        if options.out:
            write_whole(options.out, json.dumps(document, indent=1) + "\n")
    except EdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {options.out}: {error.strerror}\n  fix: give another --out", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    return 1 if document["void"] else 0


_ENERGY = "auto (default), none, a kind that `compress devices` lists, csv:FILE or serial:TTY@BAUD"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-bench", description="Measure compress bundles on this machine.")
    parser.add_argument("--version", action="version", version=f"edge-bench {__version__}")
    parser.add_argument("bundle", nargs="?", metavar="BUNDLE", help="the folder that holds manifest.json")
    parser.add_argument("--job", type=Path, metavar="FILE", help="a whole job instead, as compress sends it to devices")
    parser.add_argument("--vs", metavar="BUNDLE", help="another bundle, timed beside this one: a ratio with interval")
    parser.add_argument("--engine", choices=("onnx", "tflite"), help="default: every format that the bundle holds")
    parser.add_argument(
        "--profile", choices=tuple(PROFILES), default="default", help="how much work (default: default)"
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the engine (default 1)")
    parser.add_argument("--cores", type=_cores, metavar="A,B", help="to pin to; default: the best N")
    parser.add_argument("--batch", type=int, default=32, metavar="N", help="of the throughput run (default 32)")
    parser.add_argument("--energy", default="auto", metavar="METER", help=_ENERGY)
    parser.add_argument("--profile-operators", action="store_true", help="also time every operator")
    parser.add_argument("--emulated", action="store_true", help="an emulator runs this: outputs are checked, not timed")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the order of blocks")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all samples and facts here, as JSON")
    parser.add_argument("--quiet", dest="progress", action="store_false", help="no progress on stderr")
    return parser


def _cores(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of core numbers such as 2,3") from error


def make_job(options: argparse.Namespace) -> Job:
    """What the command line asks for.

    Raises:
        InputError: no bundle, a batch of none, or no common format to compare.
    """
    if (options.bundle is None) == (options.job is None):
        raise InputError("want a BUNDLE or --job FILE", "edge-bench", "see edge-bench --help")
    if options.job is not None:
        return read_job(options.job)
    if options.batch < 1:
        raise InputError(f"a batch of {options.batch}", "--batch", "give 1 or more")
    subjects, pairs = subjects_of(options.bundle, options.vs, options.engine)
    return Job(subjects, pairs, PROFILES[options.profile], options.threads, options.cores, options.batch,
               options.energy, options.profile_operators, options.emulated, options.seed)  # fmt: skip


def subjects_of(
    bundle: str, other: str | None, engine: str | None
) -> tuple[tuple[Subject, ...], tuple[tuple[str, str], ...]]:
    """The models to measure, and the pairs to time beside each other: other's first, then this bundle's.

    Alone, a bundle's formats are compared with its first one. With another, each format with the same one there.
    """
    mine = _formats(bundle, engine)
    if other is None:
        subjects = tuple(Subject(f, str(Path(bundle).resolve()), f) for f in mine)
        return subjects, tuple((mine[0], f) for f in mine[1:])
    theirs = _formats(other, engine)
    common = [f for f in mine if f in theirs]
    if not common:
        what = f"this bundle holds {', '.join(mine)}, the other {', '.join(theirs)}"
        raise InputError(what, f"{bundle} and {other}", "compare bundles that share a format")
    folders = {"this": str(Path(bundle).resolve()), "other": str(Path(other).resolve())}
    subjects = tuple(Subject(f"{who}/{f}", folders[who], f) for f in common for who in ("other", "this"))
    return subjects, tuple((f"other/{f}", f"this/{f}") for f in common)


def _formats(bundle: str, engine: str | None) -> list[str]:
    formats = [m.format for m in read_manifest(Path(bundle)).models]
    if engine and engine not in formats:
        raise InputError(f"the bundle holds no {engine} model", bundle, f"it holds {', '.join(formats)}")
    return [engine] if engine else formats


@contextlib.contextmanager
def held(
    who: str, wait_s: float = 0.0, on_wait: Callable[[str], None] = lambda holder: None, folder: str | None = None
) -> Iterator[None]:
    """This machine for one measurement: two at once would measure each other. Let go however the process ends.

    on_wait: told who holds it, each time it is found held. folder: of the lock file.

    Raises:
        BusyError: somebody else holds it, still after wait_s.
    """
    try:
        import fcntl
    except ImportError:  # not a Unix: nothing to hold
        yield
        return
    path = Path(folder or tempfile.gettempdir()) / "edge-bench.lock"
    handle, ours = _lock_file(path)
    try:
        end = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                holder = os.pread(handle, 500, 0).decode(errors="replace").strip() or "somebody"
                if time.monotonic() >= end:
                    what = f"another measurement is under way: {holder}"
                    raise BusyError(
                        what, "this device", "wait for it, or stop it: two at once measure each other"
                    ) from error
                on_wait(holder)
                time.sleep(0.5)
        if ours:
            os.ftruncate(handle, 0)
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            os.write(handle, f"{who}, process {os.getpid()}, user {os.getuid()}, since {since}\n".encode())
        yield
        if ours:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _lock_file(path: Path) -> tuple[int, bool]:
    """A handle to lock, and whether we may write into it: another user's file can be locked all the same."""
    link = getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | link, 0o644), True
    except PermissionError:
        return os.open(path, os.O_RDONLY | link), False
    except OSError as error:
        raise MeasureError(f"the lock cannot be opened: {error}", str(path), "remove what stands there") from error


def write_whole(path: Path, text: str) -> None:
    """All of it or nothing: a reader never finds half a file."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    os.replace(part, path)


def lines(document: dict[str, Any]) -> list[str]:
    """The document for a terminal."""
    host, label = document["host"], document["label"]
    out = [f"{host['cpu']}, {document['threads']} thread(s), cores {', '.join(map(str, document['cores']))}: {label}"]
    for name, model in document["models"].items():
        out += ["", f"{name}  {model['file']}, {model['precision']}, {model['engine']}"]
        out.append(f"  self-test     {model['check']['message']}")
        if label == "emulated":
            out.append("  latency       none: an emulated CPU's clock says nothing about the CPU")
        elif document["void"]:
            out.append("  latency       void")
        else:
            out += [*_figures(model["summary"]), f"  energy        {energy_words(model['energy'])}"]
            out += _operators(model["operators"])
    if label == "measured" and not document["void"]:
        for pair in document["pairs"]:
            out += ["", f"{pair['this']} against {pair['reference']}: {ratio_words(pair)}"]
    return out + [f"note: {text}" for text in told(document["events"])]


def ratio_words(pair: dict[str, Any]) -> str:
    """`1.92x faster (95 % interval 1.90 to 1.94)`."""
    low, high = pair["ci95"] or (None, None)
    interval = f"95 % interval of the ratio {low:.3f} to {high:.3f}" if low is not None else "no interval"
    return f"{pair['verdict']} ({interval})"


def _operators(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return []
    out = [f"  operators     {found['how']}"]
    for row in sorted(found["rows"], key=lambda r: -(r["share"] or 0.0)):
        time = (
            f"{100 * row['share']:5.1f} %  {row['us']:9.1f} us"
            if row["share"] is not None
            else f"{row['provider']:>18}"
        )
        out.append(f"    {time}  {row['arithmetic']:10}  {row['op']:24}  {row['name']}")
    return out + [f"  operators     {text}" for text in found["verdict"]]


def energy_words(energy: dict[str, Any]) -> str:
    """`1.23 mJ an inference, 0.81 above idle (RAPL: package-0, ...)`, or why there is none."""
    if energy["label"] == "none":
        return f"none: {energy['why']}"
    if energy["label"] == "estimated":
        return f"estimated {energy['low_mj']:.4g} to {energy['high_mj']:.4g} mJ an inference: {energy['assumption']}"
    total, net = (f"{energy[k + '_mj']:.4g}{_range(energy[k + '_ci95'])}" for k in ("total", "net"))
    check = energy["disturbance"]
    read = f"; latency while it is read x{check['ratio']:.3f}" if check else ""
    meter = f"{energy['meter']['kind']}, {energy['meter']['scope']}, {energy['meter']['rate_hz']:g} Hz"
    return f"{total} mJ an inference, {net} above idle ({meter}{read})"


def _range(interval: tuple[float, float] | None) -> str:
    return f" ({interval[0]:.4g} to {interval[1]:.4g})" if interval else ""


def _figures(summary: dict[str, Any]) -> list[str]:
    def number(key: str, unit: str = "ms", factor: float = 1.0) -> str:
        value = summary[key]
        return f"{value * factor:.4g} {unit}" if value is not None else "too few runs" if key == "p99_ms" else "none"

    rule = "by MLPerf Tiny's rule" if summary["mlperf_tiny"] else "an inference on average; too short for MLPerf Tiny"
    return [
        f"  latency       p50 {number('p50_ms')}, p90 {number('p90_ms')}, p99 {number('p99_ms')}; "
        f"process medians within {number('spread', '%', 100)}",
        f"  single stream {number('single_stream_ms')} {rule}",
        f"  CPU time      {number('cpu_ms')} an inference",
        f"  start         load {number('load_ms')}, first inference {number('first_ms')}, "
        f"peak memory {number('peak_memory_bytes', 'MB', 1e-6)}",
        f"  throughput    {number('throughput_per_s', 'inferences/s')}",
    ]


def _say(done: float, total: float, note: str) -> None:
    print(f"progress {min(done / total, 1.0):.3f} {note}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
