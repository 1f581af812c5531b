"""`edge-runtime watch`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from edge_runtime.commands._shared import Answer, aligned, positive

HELP = "what a monitor's file says: traffic, latency, drift, quality, alarms"
_SHOWN = 6  # features that moved most


def arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, --last and --prometheus."""
    parser.add_argument("file", type=Path, metavar="FILE", help="what the Monitor was given, e.g. monitor.sqlite")
    parser.add_argument("--last", type=positive, default=3600, metavar="S", help="seconds to look back (default 3600)")
    parser.add_argument("--prometheus", action="store_true", help="print Prometheus' text format")


def run(options: argparse.Namespace) -> Answer:
    """Exit code 0 while no alarm stands, 3 while one does: so that a cron job can tell."""
    from edge_runtime.monitor.history import read_history
    from edge_runtime.monitor.snapshot import prometheus

    history = read_history(options.file)
    shot = history.snapshot(options.last)
    code = 3 if shot["standing"] else 0
    if options.prometheus:
        sys.stdout.write(prometheus(shot))
        options.json = False
        return None, [], code
    return shot, _lines(shot, history.alarms, history.waiting), code


def _lines(shot: dict[str, Any], alarms: Any, waiting: int) -> list[str]:
    total, found = shot["totals"], shot["figures"]
    rows = [
        ("model", shot["name"] or "unnamed"),
        ("calls", f"{total['calls']:,} in all, {total['examples']:,} examples, {total['watched']:,} described"),
    ]
    if "latency_p50_ms" in found:
        at = (f"{name} {found[f'latency_{name}_ms']:.3g} ms" for name in ("p50", "p90", "p99"))
        rows.append(("latency", ", ".join(at) + f"; {found.get('examples_per_s', 0):.3g} examples a second"))
    for word, table in (("refused", total["refused"]), ("quality", total["quality"])):
        if table:
            rows.append((word, ", ".join(f"{kind} {count:,}" for kind, count in table.items())))
    if "accuracy" in shot["quality"]:
        q = shot["quality"]
        interval = f"[{q['accuracy_low']:.1%}, {q['accuracy_high']:.1%}]"
        rows.append(("accuracy", f"{q['accuracy']:.1%} {interval} on {q['labelled']:,} labels, F1 {q['f1']:.3f}"))
    elif "rmse" in shot["quality"]:
        rows.append(("error", f"RMSE {shot['quality']['rmse']:.4g}, MAE {shot['quality']['mae']:.4g}"))
    rows.append(
        ("drift", f"{found.get('drift_level', 0.0):.0%} of the alarm level" if shot["drift"] else "no reference")
    )
    rows.append(("alarms", ", ".join(shot["standing"]) or "none stands"))
    rows.append(("queue", f"{waiting:,} inputs wait for labels"))
    lines = aligned(rows)
    moved = sorted(shot["drift"], key=lambda r: r["psi"] - r["psi_limit"], reverse=True)[:_SHOWN]
    if moved:
        table = [("feature", "PSI", "by chance", "KS", "p")]
        table += [(r["feature"], f"{r['psi']:.3f}", f"< {r['psi_limit']:.3f}", f"{r['ks']:.3f}", f"{r['ks_p']:.2g}")
                  for r in moved]  # fmt: skip
        lines += ["", *aligned(table)]
    for alarm in alarms[-_SHOWN:]:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(alarm.time_s))
        lines.append(f"{when} UTC  {alarm.figure} {'raised' if alarm.raised else 'ended'}: {alarm.cause}")
    return lines
