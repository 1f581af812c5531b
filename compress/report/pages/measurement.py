"""The HTML page of `compress measure`: devices side by side, from measurement.json alone."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from edge_runtime.edge_events import told

from compress.report import words
from compress.report.html.document import document
from compress.report.html.markup import Markup, join, tag
from compress.report.html.parts import answer, masthead, minor, plain, readable, section, table
from compress.report.sections.devices import label
from compress.report.sections.terms import terms

Document = Mapping[str, Any]
Cell = tuple[str, Callable[[Mapping[str, Any]], object]]
HOST = ("board", "cpu", "cpu_features", "governor", "frequency_mhz", "temperature_c", "load_1min", "throttled_now",
        "throttled_since_boot", "memory_available_bytes", "virtual", "system", "kernel", "python")  # fmt: skip


def render(found: Mapping[str, Any]) -> str:
    """The whole page as text. found: as measurement.json. The same measurement gives the same bytes."""
    devices: Mapping[str, Document] = found["devices"]
    parts = [
        _header(found),
        _figures(devices),
        _pairs(devices),
        _operators(devices),
        _machines(devices),
        terms("median, p50, p90", "single stream", "CPU time", "measured, estimated", "95 % interval"),
    ]
    title = f"{words.shorten(words.one_line(found['bundle']), 60)}: measured"
    return document(title, parts, f"Drawn from measurement.json alone. Measured {words.moment(found['started'])}.")


def _header(found: Mapping[str, Any]) -> Markup:
    answers = []
    for name, d in found["devices"].items():
        kind = "none" if d["void"] else d["label"]
        quiet = "Answers checked; an emulator's clock says nothing." if kind == "emulated" else "Nothing disturbed it."
        say = [_speeds(d)] if kind == "measured" else []
        say += [words.sentence(t).rstrip(".") + "." for t in told(d["events"])] or [quiet]
        grade = "bad" if d["void"] else "care" if d["events"] else "good"
        answers.append(answer(join(words.one_line(name), label(kind)), " ".join(say), grade))
    for name, why in found["failures"].items():
        answers.append(answer(join(words.one_line(name), label("none")), words.prose(why), "bad"))
    measured = [(n, d) for n, d in found["devices"].items() if d["label"] == "measured" and not d["void"]]
    bundle = "/".join(PurePath(words.one_line(found["bundle"])).parts[-2:])
    against = f" against {words.one_line(found['other'])}" if found["other"] else ""
    title = f"{words.plural(len(answers), 'device')}: {bundle}{against}"
    if len(measured) == 1:
        ((name, d),) = measured
        model, m = min(d["models"].items(), key=lambda item: item[1]["summary"]["p50_ms"])
        where = f"on {words.one_line(name)}, with {words.one_line(model)}"
        title = f"{words.milliseconds(m['summary']['p50_ms'])} an inference {where}"
    return masthead("Measurement", f"{bundle}{against}", title, answers, sides=True)


def _speeds(d: Document) -> str:
    """`onnx 0.0489 ms, tflite 0.0486 ms, the median of one example at a time.`"""
    said = [f"{words.one_line(name)} {words.milliseconds(m['summary']['p50_ms'])}" for name, m in d["models"].items()]
    return f"{', '.join(said)}: the median of one example at a time."


def _figures(devices: Mapping[str, Document]) -> list[Markup]:
    """A row a quantity. A column a model where there is one device; else a table a model, a column a device."""
    if len(devices) == 1:
        ((name, d),) = devices.items()
        return [_sheet(f"On {words.one_line(name)}", [(model, d, model) for model in d["models"]])]
    models = dict.fromkeys(m for d in devices.values() for m in d["models"])
    return [_sheet(m, [(name, d, m) for name, d in devices.items() if m in d["models"]]) for m in models]


def _sheet(title: str, columns: Sequence[tuple[str, Document, str]]) -> Markup:
    """columns: head, device and model. Nothing stands where nothing was measured."""
    heads = ("Quantity", *(words.one_line(head) for head, _, _ in columns))
    rows = [(None, ["How it came about", *(_kind(d) for _, d, _ in columns)])]
    rows += [(None, [name, *(_cell(d, model, show) for _, d, model in columns)]) for name, show in ROWS]
    shown = {f"{m['file']}, {m['precision']}, {words.size(m['size_bytes'])}": None
             for m in (d["models"][model] for _, d, model in columns)}  # fmt: skip
    title = words.one_line(title)
    return section(
        f"figures-{title.replace('/', '-').replace(' ', '-')}",
        title,
        table(f"{title}: every quantity", heads, rows, kind="devices", figures=len(columns)),
        lead=f"{words.one_line('; '.join(shown))}. One example at a time unless it says otherwise.",
    )


def _kind(d: Document) -> object:
    return join(label("none"), minor("void")) if d["void"] else label(d["label"])


def _cell(d: Document, model: str, show: Callable[[Mapping[str, Any]], object]) -> object:
    return show(d["models"][model]) if d["label"] == "measured" and not d["void"] else _unmeasured(d, model, show)


def _unmeasured(d: Document, model: str, show: Callable[[Mapping[str, Any]], object]) -> object:
    """Of an emulator and of a void measurement only what is no figure of speed stands there."""
    return show(d["models"][model]) if show in (_engine, _check) else "–"


def _engine(m: Mapping[str, Any]) -> object:
    return join(words.one_line(m["engine"]), minor(words.plural(m["threads"], "thread")))


def _check(m: Mapping[str, Any]) -> object:
    return words.one_line(m["check"]["message"].split(":")[0])


def _ms(key: str, none: str = "–") -> Callable[[Mapping[str, Any]], object]:
    def show(m: Mapping[str, Any]) -> object:
        value = m["summary"][key]
        return none if value is None else words.milliseconds(value)

    return show


def _p50(m: Mapping[str, Any]) -> object:
    s = m["summary"]
    return join(
        tag("b", words.milliseconds(s["p50_ms"])), minor(f"process medians within {words.percent(s['spread'], 1)}")
    )


def _stream(m: Mapping[str, Any]) -> object:
    s = m["summary"]
    rule = "MLPerf Tiny's rule" if s["mlperf_tiny"] else "too short for MLPerf Tiny"
    return join(words.milliseconds(s["single_stream_ms"]), minor(rule))


def _throughput(m: Mapping[str, Any]) -> object:
    per_s = m["summary"]["throughput_per_s"]
    return "–" if per_s is None else join(words.number(round(per_s)), minor(f"batch {m['throughput']['batch']}"))


def _memory(m: Mapping[str, Any]) -> object:
    peak = m["summary"]["peak_memory_bytes"]
    return "–" if peak is None else words.size(peak)


def _energy(m: Mapping[str, Any]) -> object:
    e = m["energy"]
    if e["label"] == "none":
        return join(label("none"), minor(words.prose(e["why"])))
    if e["label"] == "estimated":
        span = f"{words.significant(e['low_mj'])} to {words.significant(e['high_mj'])} mJ"
        return join(span, " ", label("estimated"), minor(words.prose(e["assumption"])))
    meter = f"{e['meter']['kind']}, {e['meter']['scope']}, {e['meter']['rate_hz']:g} Hz"
    ci = (
        f", 95 % {words.significant(e['net_ci95'][0])} to {words.significant(e['net_ci95'][1])}"
        if e["net_ci95"]
        else ""
    )
    check = e["disturbance"]
    read = f"latency while it is read: {words.times(check['ratio'])}" if check else None
    above = f"{words.significant(e['net_mj'])} mJ of it above idle{ci}"
    total = f"{words.significant(e['total_mj'])} mJ "
    return join(total, label("measured"), minor(above), minor(words.one_line(meter)), minor(read))


ROWS: tuple[Cell, ...] = (
    ("Engine", _engine),
    ("Self-test there", _check),
    ("Latency, median (p50)", _p50),
    ("p90", _ms("p90_ms")),
    ("p99", _ms("p99_ms", "fewer than 1,000 runs")),
    ("Single stream", _stream),
    ("CPU time an inference", _ms("cpu_ms")),
    ("Inferences a second", _throughput),
    ("Load", _ms("load_ms")),
    ("First inference", _ms("first_ms")),
    ("Peak memory", _memory),
    ("Energy an inference", _energy),
)


def _pairs(devices: Mapping[str, Document]) -> Markup | None:
    rows = []
    for name, d in devices.items():
        for p in d["pairs"] if not d["void"] else ():
            low, high = p["ci95"] or (None, None)
            ci = f"{low:.3f} to {high:.3f}" if low is not None else "–"
            rows.append((None, [words.one_line(p["this"]), words.one_line(p["reference"]), words.one_line(name),
                                words.sentence(p["verdict"]), f"{p['ratio']:.3f}", ci]))  # fmt: skip
    heads = ("This", "Against", "On", "Verdict", "Ratio", "95 % interval")
    lead = "Timed in turns in the same processes. The ratio is the other's latency over this one's: above 1 is faster."
    return section("pairs", "Head to head", table("Ratios", heads, rows, figures=2), lead=lead) if rows else None


def _operators(devices: Mapping[str, Document]) -> Markup | None:
    parts = []
    for name, d in devices.items():
        for model, m in d["models"].items():
            if (found := m.get("operators")) is None:
                continue
            ordered = sorted(found["rows"], key=lambda r: -(r["share"] or 0.0))
            rows = [(None, [words.one_line(r["name"]), words.one_line(r["op"]), r["arithmetic"],
                            words.one_line(str(r["provider"])),
                            "–" if r["share"] is None else words.percent(r["share"], 1),
                            "–" if r["us"] is None else f"{r['us']:.1f}"]) for r in ordered]  # fmt: skip
            heads = ("Operator", "Kind", "Arithmetic", "Runs in", "Share", "µs")
            parts += [tag("h3", f"{words.one_line(model)} on {words.one_line(name)}"),
                      tag("p", words.one_line(found["how"]), class_="fine"),
                      tag("ul", [tag("li", words.prose(v)) for v in found["verdict"]]),
                      table(f"Operators of {words.one_line(model)}", heads, rows, figures=2)]  # fmt: skip
    return section("operators", "Operator by operator", *parts) if parts else None


def _machines(devices: Mapping[str, Document]) -> Markup:
    heads = ("Fact", *(words.one_line(n) for n in devices))
    rows: list[tuple[str | None, Sequence[object]]] = [
        (None, [readable(key.removesuffix("_bytes")), *(plain(key, d["host"].get(key)) for d in devices.values())])
        for key in HOST
    ]
    rows.append((None, ["pinned to cores", *(plain("", list(d["cores"])) for d in devices.values())]))
    rows.append((None, ["took", *(words.duration(d["seconds"]) for d in devices.values())]))
    return section("machines", "The machines", table("Facts of every device", heads, rows, kind="hosts"))
