"""A plan on the terminal: readable at 80 and 120 columns, nothing cut off, plain text stays plain."""

import io

import pytest
from rich.console import Console

from compress.plan.explain import amount, render
from compress.plan.plan import make_plan


def page(plan, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(render(plan))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_cut_and_no_line_is_too_long(long_recipe, width):
    text = page(make_plan(long_recipe), width)

    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for layer in make_plan(long_recipe).layers:
        assert layer.name in text


def test_a_narrow_page_goes_without_the_output_shape(long_recipe, recipe_of):
    rest = "stages: [{prune: {keep_macs: 0.5}}, {prune: {what: weights, sparsity: 0.5}}, {quantize: {how: static}}]"
    plan = make_plan(recipe_of(rest))

    assert "16x28x28" in page(plan, 120)
    assert "16x28x28" not in page(plan, 80)
    assert "3x3 conv" in page(plan, 80)


def test_it_says_what_happens_to_layers_and_why_not(long_recipe):
    lines = page(make_plan(long_recipe), 120).splitlines()

    stem = next(line for line in lines if line.startswith("stem "))
    assert stem.split() == ["stem", "3x3", "conv", "16x14x14", "144", "28.2k", "16", "→", "~12", "kept", "kept"]
    assert "04-quantize  stem: stays float: chosen by `keep_float`" in [line.strip() for line in lines]
    assert "02-prune     classifier: not chosen by `layers`" in "\n".join(lines)
    assert any(line.startswith("export       00-teacher.onnx, 01-distill.onnx, 02-prune.onnx") for line in lines)
    assert any("accuracy at most 1 point below the teacher's, at most 9,000 bytes" in line for line in lines)
    assert any(line.startswith("note: 7-bit weights because of x86-avx2") for line in lines)


def test_the_size_table_marks_estimates(recipe_of):
    text = page(make_plan(recipe_of("stages: [{prune: {keep_macs: 0.5}}]")), 80)

    start, pruned = (next(x for x in text.splitlines()[::-1] if x.startswith(n)).split() for n in ("start", "01-prune"))
    assert start[1] == "77,754"
    assert pruned[1].startswith("~")


def test_text_in_brackets_is_no_markup(recipe_of):
    recipe = recipe_of("stages: [{quantize: {how: static}}]", data="{hf: 'a/[bold]b', revision: abc1234x}")

    assert "read a/[bold]b" in page(make_plan(recipe), 80)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (940, "940"), (999, "999"), (1000, "1k"), (18_234, "18.2k"), (999_499, "999k"), (999_500, "1M"),
     (1_250_000, "1.25M"), (3_200_000_000, "3.2G")],
)  # fmt: skip
def test_amounts_are_short(number, text):
    assert amount(number) == text
