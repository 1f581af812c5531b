"""Lint and plan must be quick on a small machine: no framework is loaded on the way."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HEAVY = {"torch", "onnx", "onnxruntime", "ai_edge_litert", "flatbuffers", "safetensors", "numpy", "accelerate", "rich"}


def loaded(code):
    script = f"import sys\nfrom pathlib import Path\n{code}\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_lint_and_plan_load_no_framework():
    code = (
        "from compress.recipe.load import load_recipe\nfrom compress.plan.plan import make_plan\n"
        "import compress.recipe.json_schema, compress.recipe.smoke, compress.plan.file\n"
        "make_plan(load_recipe(Path('recipes/distil_int8.yaml')))"
    )
    assert loaded(code) & HEAVY == set()


def test_the_check_can_fail():
    assert loaded("import numpy") & HEAVY == {"numpy"}
