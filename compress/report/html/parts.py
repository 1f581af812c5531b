"""What every part of the page is made of: sections, tables that become cards on a phone, icons."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from compress.report import words
from compress.report.html.markup import Markup, tag

_ICONS = {
    "good": "M3.5 8.5l3 3 6-7",
    "care": "M8 3.5v5.5M8 12v.4",
    "bad": "M4.5 4.5l7 7m0-7l-7 7",
}


def icon(grade: str) -> Markup:
    """A tick, an exclamation mark or a cross; the words beside it say the same."""
    path = tag("path", d=_ICONS[grade])
    return tag("svg", path, viewbox="0 0 16 16", class_=f"icon {grade}", aria_hidden="true", width=18, height=18)


def masthead(kind: str, name: str, title: str, answers: Iterable[object], *rest: object, sides: bool = False) -> Markup:
    """The first screen: kind of page, name, the one sentence that matters, and the answers to a reader's questions.

    sides: the terms are names of files or devices, which want room.
    """
    line = tag("p", tag("span", kind, class_="kicker"), tag("span", name), class_="name-line")
    return tag(
        "header", line, tag("h1", title), tag("dl", answers, class_="verdict sides" if sides else "verdict"), *rest
    )


def answer(term: object, text: object, grade: str | None = None) -> Markup:
    """One line of it. grade: good, care or bad; told by an icon, a colour and the words."""
    return tag("div", tag("dt", icon(grade) if grade else None, term), tag("dd", text), class_=grade)


def contents(titles: Mapping[str, str], drawn: Mapping[str, Markup | None]) -> Markup:
    """Links to the parts that are there."""
    links = [tag("a", text, href=f"#{key}") for key, text in titles.items() if drawn[key] is not None]
    return tag("nav", links, aria_label="Parts of this report")


def section(identity: str, title: str, *body: object, lead: str | None = None) -> Markup:
    """A part of the page with its heading."""
    head = f"{identity}-title"
    return tag(
        "section",
        tag("h2", title, id=head),
        tag("p", lead, class_="lead") if lead else None,
        *body,
        id=identity,
        aria_labelledby=head,
    )


def table(
    caption: str,
    heads: Iterable[str],
    rows: Iterable[tuple[str | None, Sequence[object]]],
    *,
    kind: str = "",
    figures: int = 0,
) -> Markup:
    """A table whose rows become cards on a narrow screen; roles keep it a table for screen readers there.

    The first cell of a row is its header. A row is (class, cells). figures: so many of the last columns hold numbers.
    """
    names = list(heads)
    first_figure = len(names) - figures

    def cell(i: int, body: object) -> Markup:
        mark = " ".join(c for c, on in (("figure", i >= first_figure), ("absent", body == "–")) if on) or None
        if i == 0:
            return tag("th", body, scope="row", role="rowheader", class_=mark)
        return tag("td", tag("div", body), role="cell", data_label=names[i], class_=mark)

    head = [
        tag("th", n, scope="col", role="columnheader", class_="figure" if i >= first_figure else None)
        for i, n in enumerate(names)
    ]
    return tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", head, role="row"), role="rowgroup"),
        tag(
            "tbody",
            [tag("tr", [cell(i, c) for i, c in enumerate(cells)], role="row", class_=css) for css, cells in rows],
            role="rowgroup",
        ),
        class_=f"stack {kind}".strip(),
        role="table",
    )


def minor(text: str | None) -> Markup | None:
    """A second, paler line in a cell."""
    return tag("small", text) if text else None


def readable(key: str) -> str:
    """`peak_memory` -> `peak memory`."""
    return words.one_line(key).replace("_", " ")


def plain(key: str, value: Any) -> str:
    """A recorded value in words; sizes are told by a key that ends in `_bytes`."""
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(plain("", v) for v in value) or "none"
    if isinstance(value, int):
        return words.size(value) if key.endswith("_bytes") else f"{value:,}"
    if isinstance(value, float):
        return words.tick(words.significant(value, 4))
    return words.one_line(str(value))
