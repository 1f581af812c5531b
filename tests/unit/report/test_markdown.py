import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import samples

from compress.report.text import markdown

GOLDEN = Path(__file__).parent / "golden"


def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_golden", GOLDEN / "write_golden.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["good", "missed", "breach"])
def test_markdown_is_as_it_was(name: str) -> None:
    expected = (GOLDEN / f"{name}.md").read_text(encoding="utf-8")
    hint = "meant to change? run tests/unit/report/golden/write_golden.py and read the difference"
    assert markdown.render(samples.SAMPLES[name]()) == expected, hint


def test_the_writer_writes_what_the_test_reads(tmp_path: Path) -> None:
    written = writer().write(tmp_path)
    assert [p.read_text(encoding="utf-8") for p in written] == [
        (GOLDEN / p.name).read_text(encoding="utf-8") for p in written
    ]


def test_names_cannot_end_a_cell_or_make_markup() -> None:
    text = markdown.render(samples.hostile())
    assert "<script" not in text
    assert "\x1b" not in text
    for line in text.splitlines():
        if line.startswith("| ") and "---" not in line:
            assert line.replace(r"\|", "").count("|") in (5, 6, 9)  # the tables' widths: none broken by a name


def test_every_artefact_and_flag_appears() -> None:
    for name in ("slower", "many", "alone", "unmeasured"):
        run = samples.SAMPLES[name]()
        text = markdown.render(run)
        for wanted in [a.id for a in run.artefacts] + list(run.flags):
            assert markdown.escape(wanted) in text
