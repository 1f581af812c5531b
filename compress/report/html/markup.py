"""HTML and SVG built from calls, so that nothing reaches the page unescaped by oversight."""

import html
from collections.abc import Iterable

from compress.report.words import clean

_VOID = frozenset({"meta", "img", "br", "hr", "path", "circle", "rect", "line", "polyline", "col"})
_SVG_EMPTY = frozenset({"path", "circle", "rect", "line", "polyline"})


class Markup(str):
    """Text that is markup already. Only this module and the page's own files make one."""

    __slots__ = ()


def escape(text: str) -> Markup:
    """Text from anywhere, for an element or a quoted attribute."""
    return text if isinstance(text, Markup) else Markup(html.escape(clean(text), quote=True))


def join(*children: object) -> Markup:
    """Children one after another: Markup as it is, str escaped, None nothing, other iterables flattened.

    Raises:
        TypeError: a child is something else, e.g. a number that nobody formatted.
    """
    return Markup("".join(_flatten(children)))


def with_code(text: str) -> Markup:
    """A sentence, what stands between backticks in it set as code."""
    return join(tag("code", part) if i % 2 else part for i, part in enumerate(text.split("`")))


def _flatten(children: Iterable[object]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, str):
            yield escape(child)
        elif isinstance(child, Iterable):
            yield from _flatten(child)
        else:
            raise TypeError(f"{child!r} is no text; format it first")


def tag(name: str, /, *children: object, **attributes: str | float | bool | None) -> Markup:
    """An element. `class_` and `for_` lose their underscore, others become hyphens; None and False leave one out.

    Attributes that could load something or run code (href, src, on...) are refused: a report needs none but `#` links
    and pictures that are inside the page.
    """
    out = [f"<{name}"]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        attribute = {"viewbox": "viewBox", "preserveaspectratio": "preserveAspectRatio"}.get(attribute, attribute)
        text = number(value) if isinstance(value, float) else str(value)
        inside = {"href": "#", "src": "data:image/png;base64,"}.get(attribute, "")
        if attribute.startswith("on") or not text.startswith(inside):
            raise ValueError(f"{attribute}={text!r} has no place in a report")
        out.append(f" {attribute}" if value is True else f' {attribute}="{escape(text)}"')
    if name in _VOID:
        return Markup("".join([*out, "/>" if name in _SVG_EMPTY else ">"]))
    return Markup("".join([*out, ">", join(*children), f"</{name}>"]))


def number(value: float) -> str:
    """A coordinate: one decimal at most, no trailing zero, no minus zero."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def chart(*children: object, width: int, height: int, about: str, small: bool = False) -> Markup:
    """The frame of a drawing, in CSS pixels. about: what a reader who cannot see it is told."""
    kind = "chart small" if small else "chart"
    box = f"0 0 {width} {height}"
    return tag("svg", *children, viewbox=box, width=width, height=height, role="img", aria_label=about, class_=kind)
