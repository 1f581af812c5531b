"""No number that a result can hold may break the reports: what is odd is shown as odd."""

import copy
import io
import math
from collections.abc import Iterator
from typing import Any

import pytest
import samples
from pydantic import ValidationError
from rich.console import Console

from compress.report.pages import run as page
from compress.report.text import markdown
from compress.report.text import terminal as table
from compress.result import Result


def small() -> dict[str, Any]:
    """Two files with few layers, blocks and epochs, as plain data."""
    run = samples.good()
    files = tuple(
        a.model_copy(update={
            "layers": a.layers[:1], "confusion": (),
            "latency": (a.latency[0].model_copy(update={"processes_ms": ((0.1, 0.2), (0.1,))}),),
        })
        for a in (run.artefacts[0], run.artefacts[3])
    )  # fmt: skip
    ledger, steps = (run.ledger[1], run.ledger[5]), (run.steps[0], run.steps[3])
    doc = run.model_copy(update={"artefacts": files, "ledger": ledger, "steps": steps}).model_dump()
    return copy.deepcopy(doc)


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(node, dict | list | tuple):
        for key, inner in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(inner, (*path, key))
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield path


def changed(node: Any, path: tuple[Any, ...], value: float) -> Any:
    if not path:
        return value
    if isinstance(node, dict):
        return node | {path[0]: changed(node[path[0]], path[1:], value)}
    return [changed(inner, path[1:], value) if i == path[0] else inner for i, inner in enumerate(node)]


def places() -> list[tuple[Any, ...]]:
    """One place of each kind: the last artefact stands for all, the last confusion cell for its matrix, ..."""
    return list({tuple("*" if isinstance(k, int) else k for k in p): p for p in leaves(small())}.values())


@pytest.mark.parametrize("value", [math.nan, math.inf, 0, -(10**15)])
def test_no_number_breaks_a_report(value: float) -> None:
    doc, console, drawn = small(), Console(file=io.StringIO(), width=80), 0
    for place in places():
        try:
            run = Result.model_validate(changed(doc, place, value))
        except ValidationError:
            continue  # the result itself refuses it
        try:
            markdown.render(run)
            page.render(run)
            console.print(table.render(run))
        except Exception as error:
            raise AssertionError(f"{value} at {'.'.join(map(str, place))}: {error!r}") from error
        drawn += 1
    assert drawn > 20
