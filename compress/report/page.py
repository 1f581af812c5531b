"""The HTML report: one file, no script, no request; a content security policy forbids both."""

from collections.abc import Iterable
from importlib.resources import files

from compress.report import (
    page_charts,
    page_classes,
    page_compare,
    page_devices,
    page_evidence,
    page_flips,
    page_groups,
    page_record,
    page_top,
    words,
)
from compress.report.facts import facts
from compress.report.markup import Markup, join, tag
from compress.result import Result

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_PARTS = {
    "charts": "Charts",
    "steps": "Steps",
    "files": "Files",
    "budget": "Budget",
    "ledger": "Parity",
    "layers": "Layers",
    "classes": "Classes",
    "scores": "Scores",
    "slices": "Slices",
    "groups": "Groups",
    "invariance": "Invariance",
    "calibration": "Calibration",
    "flips": "Examples",
    "timings": "Latency",
    "devices": "Devices",
    "training": "Training",
    "record": "Record",
    "reproduce": "Do it again",
}


def _in_depth(result: Result) -> dict[str, Markup | None]:
    c = result.comparison
    if c is None:
        return dict.fromkeys(("scores", "slices", "groups", "invariance", "calibration", "flips"))
    return {
        "scores": page_compare.scores(c),
        "slices": page_compare.slices(c),
        "groups": page_groups.groups(c),
        "invariance": page_compare.invariance(c),
        "calibration": page_compare.calibration(c),
        "flips": page_flips.flips(c),
    }


def render(result: Result) -> str:
    """The whole page as text. The same result gives the same bytes.

    Raises:
        UsageError: the result holds no artefact, or names a shipped one that it does not hold.
    """
    found = facts(result)
    drawn = {
        "charts": page_charts.charts(found),
        "steps": page_top.steps(found),
        "files": page_top.files(found),
        "budget": page_top.budget(found),
        "ledger": page_evidence.ledger(found),
        "layers": page_evidence.layers(found),
        "classes": page_classes.classes(found),
        **_in_depth(result),
        "timings": page_evidence.timings(found),
        "devices": page_devices.devices(found),
        "training": page_evidence.training(found),
        "record": page_record.record(found),
        "reproduce": page_record.reproduce(found),
    }
    links = [tag("a", text, href=f"#{key}") for key, text in _PARTS.items() if drawn[key] is not None]
    name = words.one_line(result.name)
    return document(
        f"{words.shorten(name, 60)}: compression report",
        [page_top.header(found), tag("nav", links, aria_label="Parts of this report"), list(drawn.values())],
        f"Drawn from result.json alone; every number is in that file. Result format {result.version}.",
    )


def document(title: str, parts: Iterable[object], source: str) -> str:
    """A whole page: head with the style and the policy, the parts, a footer that says what it was drawn from."""
    style = Markup(files("compress.report").joinpath("page.css").read_text(encoding="utf-8"))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="robots", content="noindex"),
        tag("title", title),
        tag("style", style),
    )
    body = tag(
        "body",
        tag("a", "Skip to the content", href="#content", class_="skip"),
        tag("main", parts, id="content"),
        tag("footer", tag("p", source)),
    )
    return join(Markup("<!doctype html>\n"), tag("html", head, body, lang="en"), Markup("\n"))
