"""The committed results as Markdown: who wins in which column, who is behind whom, who failed and how."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.front import Point, Row, finished, point, span, standing

FLOAT, OURS = "float32", "compress"
PAGE, README = "peers", "peers-summary"
# Of each tool the route that its documentation advises for the kind of model, chosen before anything was measured.
HEADLINES = {
    "teacher, float": {"image": "float-onnx", "text": "float-onnx"},
    "compress, the whole chain, ONNX": {"image": "compress-chain-onnx", "text": "compress-chain-onnx"},
    "compress, the whole chain, TFLite": {"image": "compress-chain-tflite", "text": "compress-chain-tflite"},
    "compress, static int8, ONNX": {"image": "compress-static-onnx", "text": "compress-static-onnx"},
    "ONNX Runtime": {"image": "ort-static", "text": "ort-dynamic"},
    "Optimum": {"image": "optimum-static", "text": "optimum-dynamic"},
    "NNCF": {"image": "nncf", "text": "nncf"},
    "Olive": {"image": "olive-static", "text": "olive-dynamic"},
    "Neural Compressor": {"image": "inc-static", "text": "inc-static"},
    "torchao PT2E": {"image": "torchao-static", "text": "torchao-dynamic"},
    "ai-edge-quantizer": {"image": "aeq-static", "text": "aeq-dynamic"},
}


def label(row: Row) -> str:
    return f"{row['tool']}, {row['how']}" if row["how"] else str(row["tool"])


def cell(text: str) -> str:
    """Text that cannot end a table's cell or start a tag."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text


def size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def best_of(rows: Sequence[Row]) -> Point:
    """The best of each column, whoever it is."""
    points = [point(r) for r in rows]
    return Point(max(p.accuracy for p in points), min(p.size_bytes for p in points), max(p.speed for p in points))


def comparison_table(rows: Sequence[Row]) -> str:
    """Every row of one comparison, failures at the end with their message; the best of each column is bold."""
    good = finished(rows)
    best = best_of(good)
    lines = [
        "| Tool | Accuracy | Against float, points | Size | Speed | Integer / float layers | Front |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in good:
        at = point(row)
        columns = [
            cell(label(row)),
            bold(f"{100 * at.accuracy:.2f} %", at.accuracy == best.accuracy),
            _difference(row),
            bold(size(at.size_bytes), at.size_bytes == best.size_bytes),
            bold(f"{at.speed:.2f}×", at.speed == best.speed) + _interval(row),
            _kernels(row),
            cell(_standing(row, good)),
        ]
        lines.append(f"| {' | '.join(columns)} |")
    lines += [f"| {cell(label(r))} | failed | | | | | {cell(r['error'])} |" for r in rows if r["error"]]
    return "\n".join(lines)


def _difference(row: Row) -> str:
    if row["key"] == "float-onnx":
        return "–"
    low, high = row["paired"]["ci95_points"]
    return f"{row['paired']['difference_points']:+.2f} ({low:+.2f} to {high:+.2f})"


def _interval(row: Row) -> str:
    low, high = span(row)
    return f" ({low:.2f} to {high:.2f})" if "latency" in row else ""


def _kernels(row: Row) -> str:
    """Layers whose ranges are found while running are marked, because they cost time."""
    kernels = row["kernels"]
    if kernels is None:
        return "–"
    dynamic = f" + {kernels['dynamic-integer']} dynamic" if kernels["dynamic-integer"] else ""
    return f"{kernels['integer']}{dynamic} / {kernels['float']}"


_STANDING = {
    "by-accuracy": "yes, by an accuracy within noise; smaller and faster: {}",
    "within-noise": "within noise of {}",
    "behind": "behind {}",
}


def _standing(row: Row, rows: Sequence[Row]) -> str:
    place, ahead = standing(row, rows)
    return "yes" if ahead is None else _STANDING[place].format(label(ahead))


def section(doc: dict[str, Any]) -> str:
    """One comparison with what it was made of."""
    start = "the same float student" if doc["comparison"] == "student" else "from the teacher"
    data, timing = doc["data"], doc["timing"]
    shape = "x".join(map(str, doc["example_shape"]))
    loads = [v for v in timing["load_1min"] if v is not None]
    load = f", load {min(loads):.1f} to {max(loads):.1f}" if loads else ""
    facts = (
        f"{doc['why']} {data['calibration']:,} calibration, {data['validation']:,} validation and {data['test']:,} "
        f"test examples; input {shape}, one thread, {timing['processes']} pairs of processes; {doc['host']['cpu']}"
        f"{load}, {timing['taken']}."
    )
    return f"### {doc['title']}: {start}\n\n{facts}\n\n{comparison_table(doc['rows'])}"


def summary(docs: Sequence[dict[str, Any]]) -> str:
    """One line a tool, one column a task, all from the teacher; the best of each task's three figures is bold."""
    docs = [d for d in docs if d["comparison"] == "teacher"]
    chosen = {d["task"]: _headlines(d) for d in docs}
    head = f"| Given the teacher | {' | '.join(d['title'] for d in docs)} |"
    lines = [head, "| --- |" + " --- |" * len(docs)]
    for name in HEADLINES:
        lines.append(f"| {name} | " + " | ".join(_figures(name, chosen[d["task"]]) for d in docs) + " |")
    return "\n".join(lines)


def _headlines(doc: dict[str, Any]) -> dict[str, Row]:
    kind = "text" if doc["task"] == "sentiment" else "image"
    rows = {r["key"]: r for r in doc["rows"]}
    return {name: rows[keys[kind]] for name, keys in HEADLINES.items() if keys[kind] in rows}


def _figures(name: str, rows: dict[str, Row]) -> str:
    row = rows.get(name)
    if row is None or row["error"]:
        return "–" if row is None else "failed"
    best, at = best_of(finished(list(rows.values()))), point(row)
    return ", ".join((
        bold(f"{100 * at.accuracy:.1f} %", at.accuracy == best.accuracy),
        bold(size(at.size_bytes), at.size_bytes == best.size_bytes),
        bold(f"{at.speed:.2f}×", at.speed == best.speed),
    ))  # fmt: skip


def load(folder: Path) -> list[dict[str, Any]]:
    """All result files that were timed, in the order of their names."""
    docs = [json.loads(p.read_text()) for p in sorted(folder.glob("*.json"))]
    return [d for d in docs if d["timing"]]


def inside(text: str, mark: str, generated: str) -> str:
    """The page with what stands between its two marks replaced; unchanged without marks."""
    begin, end = f"<!-- {mark}: python -m benchmarks.peers --step table -->", f"<!-- {mark}: end -->"
    before, found, rest = text.partition(begin)
    after = rest.partition(end)[2]
    return f"{before}{begin}\n{generated}\n{end}{after}" if found else text


def pages(results: Path, root: Path) -> dict[Path, str]:
    """What the results make: path -> text."""
    docs = load(results)
    tables, top = "\n\n".join(section(d) for d in docs), summary(docs)
    found = {results / "table.md": f"{top}\n\n{tables}\n"}
    for path, mark, text in ((root / "docs/peers.md", PAGE, tables), (root / "README.md", README, top)):
        if path.exists() and f"<!-- {mark}:" in path.read_text():
            found[path] = inside(path.read_text(), mark, text)
    return found
