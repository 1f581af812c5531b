"""The HTML report of a run."""

from compress.report import words
from compress.report.facts.run import facts
from compress.report.html.document import document
from compress.report.html.markup import Markup
from compress.report.html.parts import contents
from compress.report.sections import classes, depth, devices, evidence, flips, groups, pareto, record, terms, top
from compress.result import Result

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
    "terms": "Words",
    "record": "Record",
    "reproduce": "Do it again",
}


_TERMS = ("teacher, student", "points", "95 % interval", "no difference shown", "lost, gained", "median, p50, p90",
          "float32, int8", "MACs", "parity", "slice", "q")  # fmt: skip


def _in_depth(result: Result) -> dict[str, Markup | None]:
    c = result.comparison
    if c is None:
        return dict.fromkeys(("scores", "slices", "groups", "invariance", "calibration", "flips"))
    return {
        "scores": depth.scores(c),
        "slices": depth.slices(c),
        "groups": groups.groups(c),
        "invariance": depth.invariance(c),
        "calibration": depth.calibration(c),
        "flips": flips.flips(c),
    }


def render(result: Result) -> str:
    """The whole page as text. The same result gives the same bytes.

    Raises:
        UsageError: the result holds no artefact, or names a shipped one that it does not hold.
    """
    found = facts(result)
    drawn = {
        "charts": pareto.charts(found),
        "steps": top.steps(found),
        "files": top.files(found),
        "budget": top.budget(found),
        "ledger": evidence.ledger(found),
        "layers": evidence.layers(found),
        "classes": classes.classes(found),
        **_in_depth(result),
        "timings": evidence.timings(found),
        "devices": devices.devices(found),
        "training": evidence.training(found),
        "terms": terms.terms(*_TERMS),
        "record": record.record(found),
        "reproduce": record.reproduce(found),
    }
    name = words.one_line(result.name)
    return document(
        f"{words.shorten(name, 60)}: compression report",
        [top.header(found), contents(_PARTS, drawn), list(drawn.values())],
        f"Drawn from result.json alone; every number is in that file. Result format {result.version}.",
    )
