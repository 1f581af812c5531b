"""The end of the page: where it ran, with what, from which recipe, and how to repeat it."""

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from compress.report import words
from compress.report.facts.run import Facts
from compress.report.html.markup import Markup, join, tag
from compress.report.html.parts import plain, readable, section

LABELS = {
    "measured": "read off the exported file or a clock on the named device",
    "derived": "computed from measured numbers",
    "estimated": "from a model of the device, not from the device",
    "emulated": "run in an emulator: right answers, meaningless speed",
    "none": "not known",
}


def record(facts: Facts) -> Markup:
    """Machine, versions, data, recipe and how to reproduce."""
    r = facts.result
    data = {
        "name": r.data.name,
        "fingerprint": r.data.fingerprint,
        "classes": len(r.data.classes),
        "input shape": " × ".join(map(str, r.data.input_shape)),
        **{f"{k} examples": v for k, v in r.data.counts.items()},
    }
    shipped = facts.shipped.artefact
    file = {"path": shipped.path, "sha256": shipped.sha256, "size": f"{shipped.size_bytes:,} bytes"}
    operators = ", ".join(f"{v} {words.one_line(k)}" for k, v in shipped.operators.items())
    return section(
        "record",
        "The record",
        tag(
            "div",
            _facts("Machine", _flat(r.host)),
            _facts("Versions", r.versions.items()),
            _facts("Data", data.items()),
            _facts("Shipped file", [*file.items(), ("operators", operators)]),
            class_="columns",
        ),
        tag("h3", "Where numbers come from"),
        tag("dl", [tag("div", tag("dt", k), tag("dd", v)) for k, v in LABELS.items()], class_="labels"),
        lead="What a second pair of eyes needs.",
    )


def reproduce(facts: Facts) -> Markup:
    """The recipe as it ran, and the commands."""
    r = facts.result
    name = str(r.recipe.get("name", "recipe"))
    file = shlex.quote(words.one_line(f"{name}.yaml"))
    pins = " ".join(shlex.quote(words.one_line(f"{k}=={v}")) for k, v in sorted(r.versions.items()) if k != "python")
    python = r.versions.get("python")
    digest = words.one_line(r.recipe_digest)
    return section(
        "reproduce",
        "Do it again",
        tag(
            "ol",
            tag("li", f"Save the recipe below as {file}."),
            tag(
                "li",
                f"Install the same versions{f', on Python {words.one_line(python)}' if python else ''}:",
                _code(f"pip install {pins}"),
            )
            if pins
            else None,
            tag("li", "Run it; what is in the cache is not run again:", _code(f"compress run {file}")),
            class_="how",
        ),
        tag(
            "p",
            f"Seed {r.seed}, recipe digest ",
            tag("code", digest),
            ". On the same machine the same recipe gives the same bytes; timings vary.",
            class_="fine",
        ),
        tag("h3", "The recipe as it ran"),
        _code(words.clean(yaml.safe_dump(r.recipe, sort_keys=False, allow_unicode=True, width=90))),
    )


def _code(text: str) -> Markup:
    return tag("pre", tag("code", text.rstrip()), tabindex="0")


def _facts(title: str, pairs: Iterable[tuple[str, Any]]) -> Markup:
    rows = [
        tag(
            "tr",
            tag("th", readable(k.removesuffix("_bytes")), scope="row"),
            tag("td", plain(k, v)),
        )
        for k, v in pairs
    ]
    return tag("div", tag("table", tag("caption", title), tag("tbody", rows), class_="facts")) if rows else join()


def _flat(host: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in host.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name} ")
        else:
            yield name, value
