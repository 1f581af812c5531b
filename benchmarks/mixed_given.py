"""A real net on which mixed precision pays, and one on which it does not: `compress quantize`, then `compress blame`.

    pip install --no-deps rapidocr-onnxruntime && apt-get install fonts-dejavu-core fonts-dejavu-extra fonts-liberation
    python benchmarks/mixed_given.py [NAME ...] [--out benchmarks/results/mixed_given.json]

recogniser: PP-OCRv4's text recogniser; right is a line read without one wrong character (blanks apart). direction:
PP-OCR's MobileNetV3 that tells whether a line is upside down; right is the true direction. Both come with the wheel as
float ONNX. Lines of text are drawn: words of Python's documentation, in the DejaVu fonts for calibration and for every
choice, other words in the Liberation fonts for the test. The product's own path: all in int8 with no limit on the loss,
blame of the fastest such file on the part of the examples that chooses, then the same command with the layers that
blame advises in float. Judged once on the test lines: paired differences (exact McNemar, bootstrap), and all files
timed against the float one, interleaved, by the protocol of every run (profile quick, one thread).
"""

import argparse
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution, version
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from compress.benchmark.host import host_facts
from compress.blame.given import blame_given, find_given
from compress.evaluate.paired import difference_interval, mcnemar
from compress.given_onnx.compare import Outputs, run_file
from compress.given_onnx.judge import Limits
from compress.given_onnx.opened import Options
from compress.given_onnx.run import FLOAT, quantize_file, time_files

FONTS = {"validation": "/usr/share/fonts/truetype/dejavu", "test": "/usr/share/fonts/truetype/liberation"}
HEIGHT, WIDTH = 48, 192
ANYTHING = Limits(max_drop_points=100, min_agreement=0, min_cosine=-1, min_sqnr_db=-20)
Right = Callable[[Outputs, Sequence[Any]], NDArray[np.bool_]]


@dataclass(frozen=True)
class Task:
    """A file with its lines. right: by example, whether the outputs are."""

    model: Path
    right: Right
    turned: bool
    hard: float
    validation: int
    test: int


def words_of(part: str) -> list[str]:
    """Every second page of Python's documentation is for the test."""
    pages = sorted(topics)[0 if part == "validation" else 1 :: 2]
    return [w for page in pages for w in re.findall(r"[A-Za-z][A-Za-z'\-]+[,.]?|\d+", topics[page])]


def drawn(rng: np.random.Generator, words: Sequence[str], fonts: Sequence[Path], hard: float) -> tuple[Any, str]:
    """One line as a picture, and what it says: some words, colours, slant, blur and noise, all by chance."""
    count = int(rng.integers(1, 5))
    start = int(rng.integers(0, len(words) - count))
    text, size = " ".join(words[start : start + count]), int(rng.integers(14, 48))
    font = ImageFont.truetype(str(fonts[rng.integers(len(fonts))]), size)
    left, top, right, bottom = font.getbbox(text)
    pad = rng.integers(1, max(2, size // 3), 4)
    paper, ink = rng.integers(0, 256, 3), rng.integers(0, 256, 3)
    while abs(int(paper.mean()) - int(ink.mean())) < 60:
        ink = rng.integers(0, 256, 3)
    ground = tuple(map(int, paper))
    image = Image.new("RGB", (int(right - left + pad[0] + pad[1]), int(bottom - top + pad[2] + pad[3])), ground)
    ImageDraw.Draw(image).text((pad[0] - left, pad[2] - top), text, font=font, fill=tuple(map(int, ink)))
    image = image.rotate(rng.uniform(-3, 3) * hard, Image.Resampling.BICUBIC, fillcolor=ground)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.2) * hard * size / 30))
    noise = rng.normal(0, rng.uniform(0, 16) * hard, (image.height, image.width, 1))
    return Image.fromarray(np.clip(np.asarray(image, np.float32) + noise, 0, 255).astype(np.uint8)), text


def ready(image: Any) -> NDArray[np.float32]:
    """(3, 48, 192) as RapidOCR prepares a line: blue first, -1..1, zeros on the right."""
    width = min(WIDTH, math.ceil(HEIGHT * image.width / image.height))
    pixels = np.asarray(image.resize((width, HEIGHT), Image.Resampling.BILINEAR), np.float32)[:, :, ::-1]
    out = np.zeros((3, HEIGHT, WIDTH), np.float32)
    out[:, :, :width] = (pixels.transpose(2, 0, 1) / 255 - 0.5) / 0.5
    return out


def lines(task: Task, part: str, count: int) -> tuple[NDArray[np.float32], list[Any]]:
    """Inputs (count, 3, 48, 192) and the truth: the text, or 1 for a line that is upside down."""
    fonts = [f for f in sorted(Path(FONTS[part]).glob("*.ttf")) if "Math" not in f.name]
    if not fonts:
        sys.exit(f"no fonts in {FONTS[part]}: see the first lines of this script")
    rng, words = np.random.default_rng(0 if part == "validation" else 1), words_of(part)
    x: list[NDArray[np.float32]] = []
    truth: list[Any] = []
    while len(x) < count:
        image, text = drawn(rng, words, fonts, task.hard)
        turn = int(rng.integers(2))
        if not task.turned and image.width / image.height > WIDTH / HEIGHT:
            continue  # a recogniser would get it at its own width
        x.append(ready(image.rotate(180) if task.turned and turn else image))
        truth.append(turn if task.turned else text)
    return np.array(x), truth


def reader(model: Path) -> Right:
    """Whether lines are read right: best character of each step, repeats and blanks taken out."""
    import onnx

    held = {p.key: p.value for p in onnx.load(model).metadata_props}
    signs = ["", *held["character"].splitlines(), " "]

    def read(steps: NDArray[np.float32]) -> str:
        best = steps.argmax(-1)
        return "".join(signs[c] for i, c in enumerate(best) if c and (i == 0 or best[i - 1] != c))

    def right(outputs: Outputs, truth: Sequence[str]) -> NDArray[np.bool_]:
        (found,) = outputs.values()
        pairs = zip(found, truth, strict=True)
        return np.array([read(steps[0]).replace(" ", "") == text.replace(" ", "") for steps, text in pairs])

    return right


def direction_right(outputs: Outputs, truth: Sequence[int]) -> NDArray[np.bool_]:
    """Whether the likelier direction is the true one."""
    (found,) = outputs.values()
    return np.concatenate([rows.argmax(1) for rows in found]) == np.array(truth)


def tasks() -> dict[str, Task]:
    wheel = distribution("rapidocr-onnxruntime")
    models = Path(str(wheel.locate_file("rapidocr_onnxruntime/models")))
    recogniser = models / "ch_PP-OCRv4_rec_infer.onnx"
    return {
        "recogniser": Task(recogniser, reader(recogniser), False, 1.5, 320, 1000),
        "direction": Task(models / "ch_ppocr_mobile_v2.0_cls_infer.onnx", direction_right, True, 1.0, 1200, 2000),
    }


def against(now: NDArray[np.bool_], before: NDArray[np.bool_]) -> dict[str, Any]:
    """Paired difference in points."""
    lost, gained = int((before & ~now).sum()), int((now & ~before).sum())
    low, high = difference_interval(lost, gained, len(now))
    return {"points": 100 * (gained - lost) / len(now), "ci95_points": (100 * low, 100 * high),
            "lost": lost, "gained": gained, "p_value": mcnemar(lost, gained)}  # fmt: skip


def one(task: Task, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """All int8, blame, mixed; then the test."""
    x, truth = lines(task, "validation", task.validation)
    data = folder / "validation.npz"
    np.savez(data, x=x, **({"labels": np.array(truth)} if task.turned else {}))
    whole = quantize_file(task.model, Options(data, limits=ANYTHING, allow_slower=True), folder / "int8", say)
    given = find_given(str(folder / "int8"))
    assert given is not None
    say(f"blaming {given.row.id}")
    told = blame_given(given, data, None, timing=True, progress=lambda done, total, note: None)
    bundles = {row.id: folder / "int8/files" / row.id for row in whole.files}
    if told.plan is not None:
        kept = Options(data, how=given.row.id, keep_float=told.plan.keep_float, limits=ANYTHING, allow_slower=True,
                       profile="smoke")  # type: ignore[arg-type]  # fmt: skip
        quantize_file(task.model, kept, folder / "mixed", say)
        bundles["mixed"] = folder / "mixed/files" / given.row.id
    say("timing all files")
    latency = time_files(bundles, Options(data))
    say("judging on the test lines")
    x, truth = lines(task, "test", task.test)
    feeds = [{_input(bundles[FLOAT]): row[None]} for row in x]
    right = {n: task.right(run_file((b / "model.onnx").read_bytes(), feeds, n), truth) for n, b in bundles.items()}
    rows: dict[str, dict[str, Any]] = {}
    for name, bundle in bundles.items():
        row = latency[name]
        rows[name] = {"test_right": float(right[name].mean()), "size_bytes": (bundle / "model.onnx").stat().st_size,
                      "p50_ms": row.p50_ms, "times_float": row.ratio, "ratio_ci95": row.ratio_ci95,
                      "processes_ms": row.processes_ms, "warnings": row.warnings}  # fmt: skip
        if name != FLOAT:
            rows[name]["against_float"] = against(right[name], right[FLOAT])
    out = {"files": rows, "blamed": given.row.id, "layers": len(told.layers), "advice": told.advice,
           "keep_float": told.plan.keep_float if told.plan else None, "blame": told.model_dump(mode="json"),
           "test_lines": len(truth)}  # fmt: skip
    if told.plan is not None:
        rows["mixed"]["against_int8"] = against(right["mixed"], right[given.row.id])
        ratio = rows["mixed"]["ratio_ci95"]
        out["beats_int8"] = rows["mixed"]["against_int8"]["ci95_points"][0] > 0
        out["beats_float"] = ratio is not None and ratio[0] > 1
    return out


def _input(bundle: Path) -> str:
    import edge_runtime

    with edge_runtime.load(bundle) as opened:
        return str(opened.entry.input.name)


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    return "\n".join(f"  {n:<14} {r['test_right']:.1%}  {r['size_bytes']:>10,} bytes  {r['p50_ms']:.3g} ms  "
                     f"{r['times_float'] or 1:.2f}x {r['ratio_ci95'] or ''}" for n, r in rows.items())  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="recogniser, direction; default: both")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/mixed_given.json"))
    args = parser.parse_args()
    found = tasks()
    doc = json.loads(args.out.read_text()) if args.out.exists() else {"files": {}}
    for name in args.names or found:
        with tempfile.TemporaryDirectory() as folder:
            row = one(found[name], Path(folder), lambda note: print(f"  {note}", flush=True))
        doc |= {"command": "python benchmarks/mixed_given.py", "host": host_facts(),
                "rapidocr-onnxruntime": version("rapidocr-onnxruntime")}  # fmt: skip
        doc["files"][name] = {"load_average": os.getloadavg(), **row}
        args.out.write_text(json.dumps(doc, indent=1) + "\n")
        print(name, table(row["files"]), *row["advice"], sep="\n", flush=True)
        print(
            {k: v for k, v in row.items() if k.startswith("beats")}, row["files"].get("mixed", {}).get("against_int8")
        )


if __name__ == "__main__":
    main()
