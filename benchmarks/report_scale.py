"""How long a large run's evidence takes to work out and to draw, and how large the page is.

    python benchmarks/report_scale.py [--artefacts 50] [--examples 10000] [--out benchmarks/results/report_scale.json]

A run of as many artefacts and test examples (28x28 images, ten classes), made up from a real artefact's record: what is
timed is contrast() of two files, the whole HTML, and the Markdown. Then the same for 100,000 classes.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from compress.benchmark.host import host_facts
from compress.evaluate.contrast import contrast
from compress.evaluate.metrics import accuracy
from compress.report.pages.run import render
from compress.report.text.markdown import render as markdown
from compress.result import Artefact, Result, load_result


def made_logits(y: np.ndarray, classes: int, skill: float, seed: int) -> Any:
    """Logits that are right most of the time."""
    out = np.random.default_rng(seed).normal(0, 1, (len(y), classes)).astype(np.float32)
    out[np.arange(len(y)), y] += skill
    return out


def made_run(real: Result, artefacts: int, examples: int, classes: int) -> tuple[Result, float]:
    """The run, and how long its comparison took."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, examples)
    names = tuple(f"class {i}" for i in range(classes))
    x = rng.integers(0, 256, (examples, 28, 28)).astype(np.uint8)
    before, after = (made_logits(y, classes, 4.0 + 0.002 * classes**0.5 + 2.0 * (classes > 100), s) for s in (1, 2))
    after = (0.8 * before + 0.2 * after).astype(np.float32)
    sites = rng.choice(["north", "south", "east"], examples)
    columns = {"site": sites, "age": rng.integers(18, 90, examples).astype(str)}
    start = time.perf_counter()
    comparison = contrast((real.artefacts[0].id, real.shipped), (before, after), y, x, names, columns=columns,
                          sensitive=["site"])  # fmt: skip
    took = time.perf_counter() - start
    judged = [accuracy(v, y, names, "test") for v in (before, after)]
    template = real.artefact(real.shipped)
    files: list[Artefact] = [real.artefacts[0].model_copy(update={"accuracy": (judged[0],)})]
    for i in range(1, artefacts):
        identity = real.shipped if i == 1 else f"{i:02d}-step.{template.format}"
        update = {"id": identity, "accuracy": (judged[1],), "size_bytes": template.size_bytes + 997 * i}
        files.append(template.model_copy(update=update))
    data = real.data.model_copy(update={"classes": names, "counts": {**real.data.counts, "test": examples}})
    return real.model_copy(update={"artefacts": tuple(files), "comparison": comparison, "data": data}), took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artefacts", type=int, default=50)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--record", type=Path, default=Path("benchmarks/results/distil_int8/result.json"))
    parser.add_argument("--page", type=Path, help="also write the large page here")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/report_scale.json"))
    args = parser.parse_args()
    real = load_result(args.record)
    rows = []
    for artefacts, examples, classes in ((args.artefacts, args.examples, 10), (5, 300, 100_000)):
        run, compared = made_run(real, artefacts, examples, classes)
        start = time.perf_counter()
        html = render(run)
        drawn = time.perf_counter() - start
        start = time.perf_counter()
        text = markdown(run)
        row = {"artefacts": artefacts, "examples": examples, "classes": classes, "compare_s": round(compared, 2),
               "html_s": round(drawn, 2), "markdown_s": round(time.perf_counter() - start, 2),
               "build_s": round(compared + time.perf_counter() - start + drawn, 2),
               "html_bytes": len(html.encode()), "markdown_bytes": len(text.encode())}  # fmt: skip
        rows.append(row)
        print(row, flush=True)
        if args.page and classes == 10:
            args.page.write_text(html)
    doc = {"script": "benchmarks/report_scale.py", "rows": rows, "host": host_facts()}
    args.out.write_text(json.dumps(doc, indent=1) + "\n")


if __name__ == "__main__":
    main()
