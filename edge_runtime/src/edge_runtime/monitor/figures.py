"""Counters as figures: named numbers, units in the names, that limits stand on and that JSON and Prometheus show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_runtime.monitor import histogram

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_runtime.monitor.counters import Counters

RIGHT = ("labelled", "accuracy", "precision", "recall", "f1", "rmse", "mae", "bias")


def of(counters: Counters, duration_s: float, quality: Mapping[str, Any]) -> dict[str, float]:
    """Figures of a stretch of `duration_s`. A share of nothing is left out: no figure is better than a false one."""
    c = counters
    out: dict[str, float] = {"calls": float(c.calls), "examples": float(c.examples)}
    if duration_s > 0:
        out["examples_per_s"] = c.examples / duration_s
    if c.calls:
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
            out[f"latency_{name}_ms"] = histogram.quantile_ms(c.latency, share)
    refused = sum(c.refused.values())
    if c.calls + refused:
        out["refused_share"] = refused / (c.calls + refused)
    if c.examples:
        out["watched_share"] = c.watched / c.examples
    if c.busy_s > 0:
        out["monitor_share"] = c.monitor_s / c.busy_s
    if c.watched:
        for kind, count in c.quality.items():
            out[f"quality_{kind}_share"] = count / c.watched
    out.update({key: float(quality[key]) for key in RIGHT if key in quality})
    return out


def of_features(names: Sequence[str], counters: Counters) -> dict[str, float]:
    """The mean of every feature, as `mean_<name>`."""
    if not counters.watched:
        return {}
    return {f"mean_{name}": float(total) / counters.watched for name, total in zip(names, counters.sums)}


def of_drift(table: Sequence[Mapping[str, Any]], level: float) -> dict[str, float]:
    """drift_level: of the detector, where 1 is the alarm; psi_max and ks_max: of the feature that moved most."""
    out = {"drift_level": level}
    if table:
        out["psi_max"] = max(float(row["psi"]) for row in table)
        out["ks_max"] = max(float(row["ks"]) for row in table)
        out.update({f"psi_{row['feature']}": float(row["psi"]) for row in table})
    return out
