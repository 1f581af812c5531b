"""The references: a number that moves is noticed, and the recipes that need no training are held to theirs."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
spec = importlib.util.spec_from_file_location("reference", ROOT / "benchmarks" / "reference.py")
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)

TOLERANCE = {"test_top1": 0.001, "size_bytes": 10, "integer_kernels": 0}
FILES = {"a.onnx": {"test_top1": 0.985, "size_bytes": 1000, "integer_kernels": 10}}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"test_top1": 0.983}, "a.onnx: test_top1 is 0.983, the reference is 0.985 (tolerance 0.001)"),
        ({"size_bytes": 1011}, "a.onnx: size_bytes is 1011, the reference is 1000 (tolerance 10)"),
        ({"integer_kernels": 9}, "a.onnx: integer_kernels is 9, the reference is 10 (tolerance 0)"),
    ],
)
def test_a_number_that_moved_is_named(change, line):
    assert reference.moved({"tolerance": TOLERANCE, "files": FILES}, {"a.onnx": {**FILES["a.onnx"], **change}}) == [
        line
    ]


def test_within_the_tolerance_nothing_moved():
    found = {"a.onnx": {"test_top1": 0.986, "size_bytes": 1010, "integer_kernels": 10}}

    assert reference.moved({"tolerance": TOLERANCE, "files": FILES}, found) == []


def test_files_that_come_or_go_are_named():
    found = {"b.onnx": FILES["a.onnx"]}

    assert reference.moved({"tolerance": TOLERANCE, "files": FILES}, found) == [
        "a.onnx: no such file any more",
        "b.onnx: a new file without reference",
    ]


def test_every_recipe_with_committed_results_has_a_reference():
    doc = yaml.safe_load((ROOT / "benchmarks" / "reference.yaml").read_text())["recipes"]

    assert all((ROOT / r["recipe"]).is_file() and r["files"] for r in doc.values())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_quick_recipes_give_what_they_gave():
    script = [sys.executable, "benchmarks/reference.py", "--quick"]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
