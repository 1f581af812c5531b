"""The reports of `compress quantize`: what was gained and kept first, on 80 columns and on a page."""

import io

import pytest
from quantized import quantized
from rich.console import Console

from compress.report.facts.given import FLOAT, answers
from compress.report.pages.given import render
from compress.report.text.given import markdown, table


def said(result, folder="."):
    return {a.term: a.text.replace("\u00a0", " ") for a in answers(result, folder)}


def test_the_first_lines_answer_what_a_reader_asks():
    found = said(quantized(), "runs/x")

    assert found["Gained"].startswith("400 kB → 100 kB, 4.00× smaller, 0.530 ms → 0.0376 ms, 14.1× faster")
    assert "99.00 % equal" in found["Kept"].replace("\u202f", " ")
    assert "wanted: equal answers for 98 %" in found["Kept"]
    assert found["Trust"].startswith("Yes: judged on 50 examples that neither calibrated nor chose")
    assert "copy `runs/x/bundle` there" in found["Next"]


@pytest.mark.parametrize(("keep", "advice"), [(2, "`--allow-slower`"), (1, "`--keep-float`")])
def test_where_the_float_file_is_kept_the_way_on_depends_on_why(keep, advice):
    run = quantized(shipped=FLOAT)
    files = run.files if keep == 2 else (run.files[0], run.files[2])
    found = said(run.model_copy(update={"files": files}))

    assert "Gained" not in found
    assert advice in found["Next"]


def test_a_disturbed_timing_is_told_once_for_all_files_it_holds_for():
    run = quantized()
    files = tuple(f.model_copy(update={"latency": f.latency.model_copy(update={"warnings": ("load was 2.0",)})})
                  for f in run.files)  # fmt: skip
    trust = said(run.model_copy(update={"files": files}))["Trust"]

    assert trust == "With care: timing of float, static: load was 2.0."


def test_every_report_fits_and_says_the_same():
    run, shown = quantized(), io.StringIO()
    Console(file=shown, width=80).print(table(run))
    page, text = render(run), markdown(run)

    assert max(map(len, shown.getvalue().splitlines())) <= 80
    for report in (page, text, shown.getvalue()):
        assert "no layer can be quantized" in report
        assert "noise of −1.5 dB" in report
        assert "2.10×" in report
    assert "−1.5\u00a0dB" in page
    assert "| Accuracy |" not in text  # the examples have no labels


def test_names_are_no_markup():
    nasty = "<script>x</script>|`[red]"

    assert "<script>x" not in render(quantized(name=nasty))
    assert "<script>x" not in markdown(quantized(name=nasty))
