"""What the documents name is there: scripts, recipes, raw results, other documents."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMED = re.compile(r"(?<![\w/.-])(?:benchmarks|recipes|docs|scripts|tests|compress|edge_runtime)/[\w./*-]*\w")
RAW = re.compile(r"`([\w./-]+\.json|\w+/)`")


def exists(name):
    """A path, one with *, a module without its ending, or one of the package, which lies in edge_runtime/src."""
    places = (ROOT, ROOT / "edge_runtime" / "src")
    return any(any(place.glob(n)) for place in places for n in (name, f"{name}.py"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_of_the_repository_that_a_document_names_exists(document):
    named = set(NAMED.findall(document.read_text(encoding="utf-8")))

    assert not {n for n in named if "NAME" not in n and not exists(n)}


def test_every_raw_result_of_a_figure_exists():
    rows = [line for line in (ROOT / "docs" / "measured.md").read_text(encoding="utf-8").splitlines() if "`" in line]
    named = {name for line in rows if line.startswith("|") for name in RAW.findall(line.split(" | ")[-1])}

    assert len(named) > 15
    assert not {n for n in named if not (ROOT / "benchmarks" / "results" / n).exists()}
