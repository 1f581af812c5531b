"""The HTML page of `compress measure`: devices side by side, from measurement.json alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edge_runtime.edge_events import told

from compress.report import words
from compress.report.html.document import document
from compress.report.html.markup import Markup, join, tag
from compress.report.html.parts import icon, minor, plain, readable, section, table
from compress.report.sections.devices import label

Document = Mapping[str, Any]
Cell = tuple[str, Callable[[Mapping[str, Any]], object]]
HOST = ("board", "cpu", "cpu_features", "governor", "frequency_mhz", "temperature_c", "load_1min", "throttled_now",
        "throttled_since_boot", "memory_available_bytes", "virtual", "system", "kernel", "python")  # fmt: skip


def render(found: Mapping[str, Any]) -> str:
    """The whole page as text. found: as measurement.json. The same measurement gives the same bytes."""
    devices: Mapping[str, Document] = found["devices"]
    parts = [
        _header(found),
        [_figures(name, devices) for name in dict.fromkeys(m for d in devices.values() for m in d["models"])],
        _pairs(devices),
        _operators(devices),
        _machines(devices),
    ]
    title = f"{words.shorten(words.one_line(found['bundle']), 60)}: measured"
    return document(title, parts, f"Drawn from measurement.json alone. Measured {words.moment(found['started'])}.")


def _header(found: Mapping[str, Any]) -> Markup:
    rows = []
    for name, d in found["devices"].items():
        kind = "none" if d["void"] else d["label"]
        quiet = "Answers checked; an emulator's clock says nothing." if kind == "emulated" else "Nothing disturbed it."
        say = [words.prose(t) for t in told(d["events"])] or [quiet]
        grade = "bad" if d["void"] else "care" if d["events"] else "good"
        rows.append(tag("div", tag("dt", icon(grade), words.one_line(name), label(kind)), tag("dd", " ".join(say)),
                        class_=grade))  # fmt: skip
    for name, why in found["failures"].items():
        text = words.prose(why)
        rows.append(tag("div", tag("dt", icon("bad"), words.one_line(name), label("none")), tag("dd", text),
                        class_="bad"))  # fmt: skip
    count = words.plural(len(rows), "device")
    against = f" against {words.one_line(found['other'])}" if found["other"] else ""
    kicker = tag("p", tag("span", "Measurement", class_="kicker"), tag("span", count), class_="name-line")
    head = tag("h1", f"{words.one_line(found['bundle'])}{against}")
    return tag("header", kicker, head, tag("dl", rows, class_="verdict sides"))


def _figures(model: str, devices: Mapping[str, Document]) -> Markup:
    """One model: a row a quantity, a column a device. Nothing stands where nothing was measured."""
    having = {name: d for name, d in devices.items() if model in d["models"]}
    first = next(iter(having.values()))["models"][model]
    heads = ("Quantity", *(words.one_line(n) for n in having))
    rows = [(None, ["How it came about", *(_kind(d) for d in having.values())])]
    rows += [(None, [title, *(_cell(d, model, show) for d in having.values())]) for title, show in ROWS]
    facts = f"{first['file']}, {first['precision']}, {words.size(first['size_bytes'])}"
    return section(
        f"model-{words.one_line(model).replace('/', '-')}",
        words.one_line(model),
        table(f"{words.one_line(model)} on every device", heads, rows, kind="devices", figures=len(having)),
        lead=f"{words.one_line(facts)}. One example at a time unless it says otherwise.",
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
    return join(f"{words.significant(e['net_mj'])} mJ above idle{ci}; {words.significant(e['total_mj'])} mJ in all ",
                label("measured"), minor(words.one_line(meter)), minor(read))  # fmt: skip


ROWS: tuple[Cell, ...] = (
    ("Engine", _engine),
    ("Self-test there", _check),
    ("Latency, p50", _p50),
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
