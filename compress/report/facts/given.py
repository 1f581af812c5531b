"""What the reports of `compress quantize` say, worked out once from its result.json."""

from dataclasses import dataclass
from typing import Literal

from compress.quantize_result import FileRow, QuantizeResult
from compress.report import words

FLOAT = "float"


@dataclass(frozen=True, slots=True)
class Said:
    """One line of the first screen. grade: None where it is neither good nor bad."""

    term: str
    text: str
    grade: Literal["good", "care", "bad"] | None = None


def headline(result: QuantizeResult) -> str:
    """What came of it, in one line, with the name in front."""
    return f"{words.one_line(result.name)}: {verdict(result)}"


def verdict(result: QuantizeResult) -> str:
    """What came of it."""
    kept = "the float file is kept" if result.shipped == FLOAT else f"int8 ({result.shipped}) ships"
    return f"{kept}. {words.sentence(result.shipped_reason)}."


def answers(result: QuantizeResult, folder: str = ".") -> tuple[Said, ...]:
    """What was gained and kept, whether that can be trusted, and what to do next; commands between backticks."""
    best = result.file(result.shipped)
    out = []
    if result.shipped != FLOAT:
        out.append(Said("Gained", _gained(result.files[0], best)))
        out.append(Said("Kept", f"{kept_in_words(best, result.judge)}; wanted: {wanted(result)}.", "good"))
    else:
        out.append(Said("Wanted", f"{words.sentence(wanted(result))}; and a file that is faster.", "care"))
    if best.paired and result.shipped != FLOAT:
        out.append(Said("Accuracy", f"{words.sentence(best.paired.verdict)}."))
    if warned := _warned(result.files[0], best):
        out.append(Said("Trust", f"With care: {'; '.join(warned)}.", "care"))
    else:
        count = words.plural(result.examples.counts["test"], "example")
        fine = f"Yes: judged on {count} that neither calibrated nor chose"
        out.append(Said("Trust", f"{fine}{'; nothing disturbed the timing' if best.latency else ''}.", "good"))
    return (*out, Said("Next", _next(result, folder)))


def _gained(given: FileRow, best: FileRow) -> str:
    said = [f"{words.size(given.size_bytes)} → {words.size(best.size_bytes)}",
            words.factor(given.size_bytes / best.size_bytes, "smaller", "larger")]  # fmt: skip
    if given.latency and best.latency:
        said.append(f"{words.milliseconds(given.latency.p50_ms)} → {words.milliseconds(best.latency.p50_ms)}")
        said.append(f"{words.factor(best.latency.ratio, 'faster', 'slower')}{_interval(best)}")
    return f"{', '.join(said)}."


def _warned(*rows: FileRow) -> list[str]:
    """Warnings of the timings, each with the files that it is of."""
    warned: dict[str, dict[str, None]] = {}
    for row in rows:
        for warning in row.latency.warnings if row.latency else ():
            warned.setdefault(warning, {})[row.id] = None
    return [f"timing of {', '.join(ids)}: {words.prose(warning)}" for warning, ids in warned.items()]


def _interval(row: FileRow) -> str:
    found = row.latency.ratio_ci95 if row.latency else None
    return f" (95 % interval {' to '.join(map(words.significant, found))})" if found else ""


def _next(result: QuantizeResult, folder: str) -> str:
    bundle = "bundle" if folder == "." else f"{folder}/bundle"
    if result.shipped != FLOAT:
        return f"Try it where it will run: copy `{bundle}` there, then `edge-runtime check bundle`."
    if any(row.ok for row in result.files[1:]):
        return "Keep the float file here, or take int8 for its size (`--allow-slower`); on another device it may pay."
    if len(result.files) < 2:
        return "Keep the float file: no int8 file could be made."
    blame = f"`compress blame {folder}:{result.files[1].id} --data EXAMPLES`"
    return f"Keep the float file; {blame} names the layers that suffer, `--keep-float` spares them."


def wanted(result: QuantizeResult) -> str:
    """The limits, in words."""
    return "; ".join(_limit(k, v) for k, v in result.limits.items())


def kept_in_words(row: FileRow, judge: str) -> str:
    """The worst output on the test part: share of equal classes, or cosine of vectors; and signal to noise."""
    said = []
    values = judge == "values"  # the argmax of an embedding says nothing
    agreements = [f.agreement for f in row.test if f.agreement is not None and not (values and f.sqnr_db is not None)]
    if agreements:
        said.append(f"{words.percent(min(agreements))} equal")
    cosines = [f.vector_cosine for f in row.test if f.vector_cosine is not None]
    if values and cosines:
        said.append(words.minus(f"cosine {min(cosines):.4f}"))
    noise = [f.sqnr_db for f in row.test if f.sqnr_db is not None]
    if noise:
        said.append(words.decibels(min(noise), 1))
    return ", ".join(said) or "–"


def notes(result: QuantizeResult) -> list[str]:
    """What a reader must not miss: refusals, failures, layers kept in float."""
    out = [f"{row.id} does not ship: {words.prose(row.verdict)}" for row in result.files if not row.ok]
    out += [f"{name} could not be made: {why}" for name, why in result.failed.items()]
    for row in result.files[1:]:
        if kept := sum(x.kernel == "float" for x in row.layers):
            out.append(f"{row.id}: {words.plural(kept, 'layer')} {'stays' if kept == 1 else 'stay'} in float")
    return out


def circumstances(result: QuantizeResult) -> dict[str, str]:
    """What a reader needs to judge it, by term."""
    source, counts = result.source, result.examples.counts
    changed = "; ".join(map(words.one_line, source.notes)) or "used as it is"
    used = f"{counts['calibration']} calibrated, {counts['selection']} chose, {counts['test']} judged"
    shares = ", ".join(f"{k} {words.percent(v, 0)}" for k, v in list(source.time_share.items())[:6])
    about = {"Judged as": f"{result.judge}, as {words.one_line(result.judge_reason)}"} if result.judge else {}
    return {
        "Source": f"{words.one_line(source.path)}, {words.size(source.size_bytes)}, opset {source.opset}, "
        f"{source.kind}; {changed}",
        "The float file's time": shares,
        "Examples": used,
        **about,
        "Wanted": wanted(result),
        "Machine": f"{result.host.get('cpu')}, {', '.join(f'{k} {v}' for k, v in result.versions.items())}",
    }


def _limit(name: str, value: float) -> str:
    said = {
        "max_drop_points": "at most {:g} points of accuracy lost",
        "min_agreement": "equal answers for {:.4g} %",
        "min_cosine": "a mean cosine similarity of {:g} or more",
        "min_sqnr_db": "{:g} dB of signal to noise or more",
    }
    return said[name].format(100 * value if name == "min_agreement" else value)
