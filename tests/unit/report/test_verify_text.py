"""The texts of `compress verify`: what came of it first, and nothing in a name that could be markup."""

import io

import pytest
from rich.console import Console

from compress.report.text.verify import headline, markdown, render
from compress.verified import FirstLayer, Row, VerifyReport


def row(verdict="same", **more):
    made = {"file": "model.onnx", "format": "onnx", "precision": "int8", "cpu": "haswell", "machine": "x86_64",
            "label": "emulated", "engine": "onnxruntime 1", "count": 100, "host_top1": 0.98, "top1": 0.98,
            "agreement": 1.0, "largest_difference": 0.0, "in_deviations": 0.0, "paired": None,
            "reason": ""}  # fmt: skip
    return Row(verdict=verdict, **{**made, **more})


def report(*rows, name="digits"):
    return VerifyReport(bundle="b", name=name, files_sha256={}, data="test split", count=100, of=1000,
                        tolerance_points=0.5, host_cpu="Xeon", host_engines={}, rows=rows)  # fmt: skip


LOST = row("OUT OF TOLERANCE", top1=0.5, reason="worse by -48.00 points", remedy="weight_bits: 7",
           first_layer=FirstLayer(name="stem", operator="Conv", share=0.25, largest_steps=9, examples=16))  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((row(), row(cpu="nehalem")), "the same answers on every CPU"),
        ((row(), row("within tolerance")), "within tolerance on every CPU"),
        ((row(), LOST), "1 of 2 checks failed"),
    ],
)
def test_what_came_of_it_stands_first(rows, said):
    assert headline(report(*rows)).startswith(f"digits: {said}. 100 of 1,000 examples (test split); host Xeon")


def test_a_failure_says_where_it_begins_and_what_helps():
    text = markdown(report(LOST))

    assert "| model.onnx | haswell | 50.00 % | 98.00 % | 100.00 % | 0 | OUT OF TOLERANCE |" in text
    assert "worse by −48.00 points; it begins in layer stem (Conv): 25.0 % of its values differ, by up to 9" in text
    assert "* remedy: weight\\_bits: 7" in text


def test_names_are_no_markup():
    nasty = "<script>x</script>|`[red]\n"
    shown = io.StringIO()
    Console(file=shown, width=80).print(render(report(row(file=nasty), name=nasty)))
    text = markdown(report(row(file=nasty), name=nasty))

    assert "[red]" in shown.getvalue()
    assert "<script>" not in text
    assert len({line.count(" | ") for line in text.splitlines() if line.startswith("|")}) == 1
    assert max(map(len, shown.getvalue().splitlines())) <= 80
