"""The parts of a monitor's page: time series, features, classes, labels, alarms."""

import time
from typing import Any

from compress.report import words
from compress.report.charts.plots import bar
from compress.report.charts.timeline import Line, timeline
from compress.report.facts.watched import Point, Watched
from compress.report.html.markup import Markup, tag
from compress.report.html.parts import section, table

_MOST_FEATURES, _MOST_ALARMS, _MOST_CLASSES = 40, 100, 40


def over_time(watched: Watched) -> Markup:
    """Charts of traffic, latency, drift, confidence, odd inputs and accuracy."""
    drift = [a.time_s for a in watched.history.alarms if a.raised and a.figure == "drift"]

    def share(count: Any) -> Any:
        return lambda p: count(p.counters) / p.counters.watched if p.counters.watched else None

    def rate(p: Point) -> float | None:
        return p.counters.examples / p.duration_s if p.duration_s else None

    has_reference = watched.history.reference.statistics is not None
    level = watched.series(lambda p: p.counters.drift) if has_reference else tuple(None for _ in watched.points)
    charts: list[tuple[str, list[Line], dict[str, Any]]] = [
        ("Examples a second", [Line("", watched.series(rate))], {"text": words.significant}),
        ("Latency, ms", [Line("p50", watched.latency(0.5)), Line("p99", watched.latency(0.99), "second")],
         {"text": words.significant}),
        ("Drift, share of the alarm level", [Line("", level)],
         {"text": lambda v: words.percent(v, 0), "limit": 1.0, "alarms_s": drift, "zero": True}),
        ("Mean confidence", [Line("", watched.mean_of("confidence"))], {"text": lambda v: words.percent(v, 1)}),
        ("Odd inputs", [Line("", watched.series(share(lambda c: sum(c.quality.values()))))],
         {"text": lambda v: words.percent(v, 1), "zero": True}),
        ("Accuracy of the labels that came", [Line("", watched.accuracy())], {"text": lambda v: words.percent(v, 1)}),
    ]  # fmt: skip
    drawn = [timeline(title, watched.times_s, lines, **options) for title, lines, options in charts]
    figures = [tag("figure", d) for d in drawn if d is not None]
    return section("time", "Over time", tag("div", figures, class_="pair"),
                   lead="Each point is a stretch of equal length; a gap means that nobody counted.")  # fmt: skip


def features(watched: Watched) -> Markup | None:
    """Every feature against the reference, those that moved most first."""
    rows = sorted(watched.shot["drift"], key=lambda r: float(r["psi"]) - float(r["psi_limit"]), reverse=True)
    if not rows:
        return None
    statistics = watched.history.reference.statistics
    reference = {f.name: f.mean for f in statistics.features} if statistics else {}
    found = watched.shot["figures"]
    body = [
        (
            None,
            (
                tag("code", row["feature"]),
                tag("span", words.significant(row["psi"]), class_="warn" if row["psi"] > row["psi_limit"] else None),
                words.significant(row["psi_limit"]),
                words.significant(row["ks"]),
                words.significant(row["ks_p"], 2),
                words.significant(reference.get(row["feature"], 0.0)),
                words.significant(found.get(f"mean_{row['feature']}", 0.0)),
            ),
        )
        for row in rows[:_MOST_FEATURES]
    ]
    heads = ("Feature", "PSI", "By chance, under", "KS", "p", "Reference mean", "Mean")
    return section("features", "Drift by feature", table("Drift by feature", heads, body, figures=6),
                   lead="The last hour counted against the reference of the bundle. An unchanged stream stays under "
                   "the third column 999 times in 1,000. Inputs are described after preprocessing.")  # fmt: skip


def classes(watched: Watched) -> Markup | None:
    """What is answered, against what the reference answered."""
    reference = watched.history.reference
    counts = reference.statistics.class_counts if reference.statistics else ()
    now = watched.shot["totals"]["classes"]
    if not now:
        return None
    names = [reference.labels[i] if i < len(reference.labels) else str(i) for i in range(max(len(counts), 1))]
    before = {n: c / sum(counts) for n, c in zip(names, counts, strict=False)} if sum(counts) else {}
    total = sum(now.values())
    order = sorted({*before, *now}, key=lambda n: abs(now.get(n, 0) / total - before.get(n, 0.0)), reverse=True)
    body = [
        (None, (words.shorten(n, 40), bar(now.get(n, 0) / total, behind=before.get(n)),
                words.percent(before[n], 1) if n in before else "–", words.percent(now.get(n, 0) / total, 1)))
        for n in order[:_MOST_CLASSES]
    ]  # fmt: skip
    drawn = table("Predicted classes", ("Class", "", "Reference", "Here"), body, figures=2)
    lead = "Shares of all answers so far; the paler bar is the reference. The largest difference stands first."
    return section("classes", "Predicted classes", drawn, lead=lead)


def right(watched: Watched) -> Markup | None:
    """Precision, recall and F1 of each class, once labels are there."""
    quality = watched.shot["quality"]
    if "per_class" not in quality:
        return None
    labels = watched.history.reference.labels

    def name(index: str) -> str:
        return labels[int(index)] if index.isdigit() and int(index) < len(labels) else index

    body = []
    for index, row in list(quality["per_class"].items())[:_MOST_CLASSES]:
        shares = [words.percent(row[key], 1) for key in ("precision", "recall", "f1")]
        body.append((None, (words.shorten(name(index), 40), f"{row['labelled']:,}", *shares)))
    drawn = table("Labels", ("Class", "Labelled", "Precision", "Recall", "F1"), body, figures=4)
    lead = (
        f"Over the newest {quality['labelled']:,} labels. Labels of queued inputs are of hard cases: they say less "
        "good things than a random sample would."
    )
    return section("right", "Labels", drawn, lead=lead)


def alarms(watched: Watched) -> Markup | None:
    """What was told, newest first."""
    found = watched.history.alarms[-_MOST_ALARMS:][::-1]
    if not found:
        return None
    body = [
        (None, (moment(a.time_s), words.one_line(a.figure), "raised" if a.raised else "ended", words.one_line(a.cause),
                words.significant(a.value), words.significant(a.limit)))
        for a in found
    ]  # fmt: skip
    heads = ("When, UTC", "Figure", "", "Cause", "Value", "Limit")
    return section("alarms", "Alarms", table("Alarms", heads, body, figures=2))


def moment(time_s: float) -> str:
    """A moment of the wall clock, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time_s))
