"""A monitor's state as plain data and as Prometheus text; the same from a running monitor and from its file."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from edge_runtime.monitor import figures, histogram
from edge_runtime.monitor.watcher import compare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_runtime.monitor.counters import Counters
    from edge_runtime.monitor.reference import Reference

FORMAT, FORMAT_VERSION = "edge-monitor-snapshot", 1
_BUCKETS_MS = tuple(b for i, b in enumerate(histogram.BOUNDS_MS) if i % 5 == 0)  # two a decade are enough to scrape


def snapshot(
    reference: Reference,
    total: Counters,
    recent: Counters,
    duration_s: float,
    quality: Mapping[str, Any],
    *,
    drift: Sequence[Mapping[str, Any]] | None = None,
    level: float | None = None,
    standing: Sequence[str] = (),
    problem: str = "",
) -> dict[str, Any]:
    """Plain data for JSON.

    total: since the start; recent: over the last `duration_s`, which figures are of. drift: rows of Watcher.recent;
    None computes them from `recent`. level: of the detector. standing: alarms that are raised.
    """
    statistics = reference.statistics
    features = [] if statistics is None else list(statistics.features)
    if drift is None:
        fits = bool(features) and recent.watched > 0 and len(recent.bins) == len(features)
        drift = [
            compare(f.name, f.counts, row[: len(f.counts)].tolist()) for f, row in zip(features, recent.bins)
        ] * fits
    found = figures.of(recent, duration_s, quality)
    if len(features) == len(recent.sums):
        found.update(figures.of_features([f.name for f in features], recent))
    found.update(figures.of_drift(drift, recent.drift if level is None else level))
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": reference.name,
        "time_s": round(time.time(), 3),
        "totals": {
            **{key: getattr(total, key) for key in ("calls", "examples", "watched", "dropped")},
            "busy_s": round(total.busy_s, 6),
            "monitor_s": round(total.monitor_s, 6),
            "refused": dict(total.refused),
            "quality": dict(total.quality),
            "classes": {_label(reference.labels, c): n for c, n in sorted(total.classes.items())},
            "latency_ms": [[b, int(n)] for b, n in _cumulative(total)],
        },
        "figures": {key: value for key, value in found.items() if math.isfinite(value)},
        "drift": [dict(row) for row in drift],
        "quality": dict(quality),
        "standing": list(standing),
        "problem": problem,
    }


def prometheus(shot: Mapping[str, Any]) -> str:
    """A snapshot in Prometheus' text format 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats)."""
    total, found = shot["totals"], shot["figures"]
    out: list[str] = []

    def family(name: str, kind: str, about: str, samples: Sequence[tuple[Mapping[str, str], float]]) -> None:
        if samples:
            out.extend((f"# HELP {name} {about}", f"# TYPE {name} {kind}"))
            out.extend(f"{name}{_tags(tags)} {_value(value)}" for tags, value in samples)

    def counter(name: str, about: str, key: str) -> None:
        family(f"edge_{name}_total", "counter", about, [({}, total[key])])

    counter("calls", "Calls of predict and predict_batch.", "calls")
    counter("examples", "Examples in these calls.", "examples")
    counter("watched_examples", "Examples whose input and answer were described.", "watched")
    counter("dropped_examples", "Examples that came too fast to be described.", "dropped")
    counter("monitor_seconds", "Time that the monitor took in the calling threads.", "monitor_s")
    for name, key, tag, about in (
        ("refused_calls", "refused", "reason", "Calls that raised instead of answering."),
        ("quality_problems", "quality", "kind", "Examples that were constant, out of range or held unseen words."),
        ("predictions", "classes", "class", "Watched examples by predicted class."),
    ):
        family(f"edge_{name}_total", "counter", about, [({tag: k}, v) for k, v in total[key].items()])
    out.extend(("# HELP edge_latency_seconds Duration of calls.", "# TYPE edge_latency_seconds histogram"))
    out.extend(f'edge_latency_seconds_bucket{{le="{b / 1e3:.9g}"}} {n}' for b, n in total["latency_ms"])
    out.append(f'edge_latency_seconds_bucket{{le="+Inf"}} {total["calls"]}')
    out.extend((f"edge_latency_seconds_sum {_value(total['busy_s'])}", f"edge_latency_seconds_count {total['calls']}"))
    for name, about in (
        ("drift_level", "Drift detector, 1 is the alarm."),
        ("labelled", "Labels that the quality figures rest on."),
        *((key, f"{key} over the newest labels.") for key in figures.RIGHT[1:]),
    ):
        family(f"edge_{name}", "gauge", about, [({}, found[name])] if name in found else [])
    for key, about in (("psi", "Population stability index against the reference."), ("ks", "Kolmogorov-Smirnov.")):
        family(f"edge_{key}", "gauge", about, [({"feature": r["feature"]}, r[key]) for r in shot["drift"]])
    family("edge_alarm", "gauge", "Alarms that are raised.", [({"figure": name}, 1) for name in shot["standing"]])
    family(
        "edge_monitor_ok", "gauge", "1 while the monitor's file can be written.", [({}, 0 if shot["problem"] else 1)]
    )
    return "\n".join(out) + "\n"


def _cumulative(counters: Counters) -> list[tuple[float, int]]:
    running = counters.latency.cumsum()
    return [(bound, int(running[histogram.BOUNDS_MS.index(bound)])) for bound in _BUCKETS_MS]


def _label(labels: Sequence[str], index: int) -> str:
    return labels[index] if 0 <= index < len(labels) else str(index)


def _tags(tags: Mapping[str, str]) -> str:
    def escape(text: str) -> str:
        return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")

    return "{" + ",".join(f'{k}="{escape(v)}"' for k, v in tags.items()) + "}" if tags else ""


def _value(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.9g}"
