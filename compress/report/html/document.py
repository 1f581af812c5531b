"""A whole HTML page: one file, no script, no request; a content security policy forbids both."""

from collections.abc import Iterable
from importlib.resources import files

from compress.report.html.markup import Markup, join, tag

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def document(title: str, parts: Iterable[object], source: str) -> str:
    """A whole page: head with the style and the policy, the parts, a footer that says what it was drawn from."""
    style = Markup(files("compress.report.html").joinpath("page.css").read_text(encoding="utf-8"))
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
