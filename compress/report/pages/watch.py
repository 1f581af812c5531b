"""The page of a monitor's file: what stands, how it went over time, what moved, what was told."""

from pathlib import Path
from typing import Any

from compress.errors import UsageError
from compress.report import words
from compress.report.build import write_file
from compress.report.facts.watched import Watched, read_watched
from compress.report.html.document import document
from compress.report.html.markup import Markup, tag
from compress.report.html.parts import answer, contents, masthead
from compress.report.sections import watch


def write_watch_report(path: Path) -> Path:
    """Draw a monitor's file into an HTML page beside it; returns the page's path.

    Raises:
        UsageError: the file cannot be read or drawn, or the page cannot be written.
    """
    page = path.with_suffix(".html")
    text = render(read_watched(path))
    try:
        return write_file(page, text)
    except OSError as error:
        what = f"the report cannot be written: {error.strerror or error}"
        raise UsageError(what, str(page), "give a file in a folder that can be written") from error


def render(watched: Watched) -> str:
    """The whole page. The same file gives the same bytes."""
    name = words.one_line(watched.history.reference.name) or "a model"
    parts = {
        "time": watch.over_time(watched),
        "features": watch.features(watched),
        "classes": watch.classes(watched),
        "right": watch.right(watched),
        "alarms": watch.alarms(watched),
    }
    titles = {"time": "Over time", "features": "Drift", "classes": "Classes", "right": "Labels", "alarms": "Alarms"}
    return document(
        f"{words.shorten(name, 60)}: monitoring report",
        [_header(watched, name), contents(titles, parts), list(parts.values())],
        f"Drawn from {words.one_line(watched.path.name)} alone. Times are UTC.",
    )


def _header(watched: Watched, name: str) -> Markup:
    shot, found = watched.shot, watched.shot["figures"]
    standing = [words.one_line(s) for s in shot["standing"]]
    causes = {a.figure: a.cause for a in watched.history.alarms if a.raised}
    headline = "No alarm stands." if not standing else f"{words.plural(len(standing), 'alarm')} stand: " + "; ".join(
        f"{s} ({words.one_line(causes.get(s, ''))})" for s in standing
    ) + "."  # fmt: skip
    if len(standing) == 1:
        headline = headline.replace("stand:", "stands:", 1)
    rows = [("Alarms", "bad" if standing else "good", ", ".join(standing) or "none stands"), _inputs(shot)]
    if shot["totals"]["refused"]:
        kinds = ", ".join(f"{words.one_line(k)} {n:,}" for k, n in shot["totals"]["refused"].items())
        rows.append(("Refused", "care", f"calls that could not be answered: {kinds}"))
    rows.append(("Queue", "", f"{words.plural(watched.history.waiting, 'input')} wait for labels"))
    return masthead(
        "Monitoring report",
        name,
        headline,
        [answer(term, text, grade or None) for term, grade, text in rows],
        tag("div", _cards(shot, found), class_="cards"),
        tag("p", f"{watch.moment(watched.times_s[0])} to {watch.moment(watched.times_s[-1])} UTC", class_="about"),
    )


def _inputs(shot: dict[str, Any]) -> tuple[str, str, str]:
    total = shot["totals"]
    if not total["quality"]:
        return ("Inputs", "good", f"nothing odd in {total['watched']:,} that were looked at")
    kinds = ", ".join(f"{words.one_line(k).replace('_', ' ')} {n:,}" for k, n in total["quality"].items())
    return ("Inputs", "care", f"of {total['watched']:,} that were looked at: {kinds}")


def _cards(shot: dict[str, Any], found: dict[str, float]) -> list[Markup]:
    total, quality = shot["totals"], shot["quality"]
    cards = [("Calls", words.number(total["calls"]), f"{words.number(total['examples'])} examples")]
    if "latency_p50_ms" in found:
        p99 = f"p99 {words.milliseconds(found['latency_p99_ms'])}, in the last hour counted"
        cards.append(("Latency, median", words.milliseconds(found["latency_p50_ms"]), p99))
    if "accuracy" in quality:
        low, high = words.percent(quality["accuracy_low"], 1), words.percent(quality["accuracy_high"], 1)
        note = f"95 % interval {low} to {high}, {quality['labelled']:,} labels"
        cards.append(("Accuracy", words.percent(quality["accuracy"], 1), note))
    elif "rmse" in quality:
        note = f"MAE {words.significant(quality['mae'])}, {quality['labelled']:,} labels"
        cards.append(("RMSE", words.significant(quality["rmse"]), note))
    level = found.get("drift_level", 0.0)
    known = bool(shot["drift"])
    cards.append(
        ("Drift", words.percent(level, 0) if known else "–", "of the alarm level" if known else "no reference")
    )
    return [
        tag("div", tag("h2", title), tag("p", value, class_="value"), tag("p", note, class_="more"), class_="card")
        for title, value, note in cards
    ]
