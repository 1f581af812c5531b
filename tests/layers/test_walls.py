"""The walls between rooms (docs/MAP.md): who may import whom, and what must stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {
    "errors": set(),
    "comparison": set(),
    "result": {"errors", "comparison"},
    "numerics": {"errors"},
    "interrupt": set(),
    "factory": {"errors"},
    "model": {"errors", "numerics", "factory", "onnx_file"},
    "readers": {"errors", "factory"},
    "recipe": {"errors", "model", "readers"},
    "data": {"errors", "recipe", "readers"},
    "stages": {"errors", "recipe", "model", "numerics", "data"},
    "plan": {"errors", "recipe", "model"},
    "export": {"errors", "model", "numerics"},
    "quantize_result": {"errors", "result", "comparison", "documents"},
    "onnx_file": {"errors"},
    "given_onnx": {"errors", "onnx_file", "numerics", "plan", "export", "evaluate", "benchmark", "result", "comparison",
                   "quantize_result"},
    "devices": {"errors", "recipe"},
    "evaluate": {"errors", "data", "result", "comparison"},
    "benchmark": {"errors", "result", "comparison", "devices", "model"},
    "documents": {"errors"},
    "versus": {"errors", "comparison", "result", "documents"},
    "tokenized": {"errors", "data", "model", "recipe"},
    "compare": {"errors", "tokenized", "result", "comparison", "versus", "evaluate", "recipe", "data"},
    "emulation": {"errors"},
    "verified": {"comparison"},
    "verify": {"errors", "verified", "comparison", "recipe", "data", "evaluate", "emulation"},
    "blamed": {"comparison", "documents"},
    "blame": {"errors", "tokenized", "blamed", "comparison", "compare", "data", "evaluate", "export", "model",
              "given_onnx", "numerics", "onnx_file", "quantize_result", "recipe", "stages"},
    "report": {"errors", "result", "comparison", "versus", "blamed", "verified", "quantize_result"},
    "label": {"errors", "readers"},
    "doctor": {"errors", "benchmark", "recipe"},
    "run": {"errors", "plan", "recipe", "stages", "model", "data", "export", "evaluate",
            "benchmark", "devices", "report", "result", "comparison", "compare", "tokenized"},
}  # fmt: skip
REPORT = {  # inside the reports: who may import whom
    "words": set(),
    "facts": {"words"},
    "html": {"words"},
    "charts": {"words", "html"},
    "sections": {"words", "facts", "html", "charts"},
    "text": {"words", "facts"},
    "pages": {"words", "facts", "html", "charts", "sections", "text", "build"},
}
LIGHT_MODULES = [
    "compress",
    "compress.cli",
    "compress.recipe.load",
    "compress.plan.plan",
    "compress.report.build",
    "compress.result",
]
HEAVY = ("torch", "onnx", "onnxruntime", "ai_edge_litert", "sklearn", "scipy", "accelerate", "transformers")


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{a.name}" for a in node.names}
    return names


def crossings(room: str, allowed: set[str], files: list[Path]) -> list[str]:
    out = []
    for path in files:
        for name in imports_of(path):
            parts = name.split(".")
            if parts[0] == "compress" and len(parts) > 1 and parts[1] not in allowed | {room, "__version__"}:
                out.append(f"{path.relative_to(ROOT)} imports {name}")
    return sorted(out)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_the_map_allows(room):
    folder = ROOT / "compress" / room
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]

    assert files
    assert crossings(room, MAY_IMPORT[room], files) == []


@pytest.mark.parametrize("part", REPORT)
def test_a_part_of_the_reports_imports_only_what_stands_below_it(part):
    folder = ROOT / "compress" / "report" / part
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    found = {n.split(".")[2] for f in files for n in imports_of(f) if n.startswith("compress.report.")}

    assert files
    assert found <= REPORT[part] | {part}


def test_every_room_stands_in_the_map():
    rooms = {p.stem for p in (ROOT / "compress").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}

    assert rooms - {"__init__", "__main__", "cli", "commands"} == set(MAY_IMPORT)


def test_the_wall_notices_a_forbidden_import(tmp_path):
    bad = ROOT / "compress" / "errors.py"
    assert crossings("errors", set(), [bad]) == []
    assert crossings("report", set(), [ROOT / "compress" / "run" / "walk.py"]) != []


def test_edge_runtime_imports_nothing_of_compress():
    files = sorted((ROOT / "edge_runtime" / "src").rglob("*.py"))

    assert files
    assert [str(p) for p in files if any(n.split(".")[0] == "compress" for n in imports_of(p))] == []


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_importing_it_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(sorted(set(m.split('.')[0] for m in sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
