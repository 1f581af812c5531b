"""edge-runtime and edge-runtime-ops as wheels: sizes, one without the other, removed, upgraded, editable."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
LARGEST_CORE_BYTES = 300_000


def run(*command, cwd, check=True):
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, timeout=300, env=clean)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """edge_runtime/ as git tracks it."""
    folder = tmp_path_factory.mktemp("source")
    for name in filter(None, run("git", "ls-files", "-z", "edge_runtime", cwd=ROOT).stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder / "edge_runtime"


@pytest.fixture(scope="module")
def wheels(source):
    folder = source.parent / "wheels"
    run(
        sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source, source / "ops", cwd=folder.parent
    )
    return folder


class Place:
    """An empty environment, and what is installed into it."""

    def __init__(self, folder):
        self.folder = folder
        run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
        self.python = folder / "venv/bin/python"

    def pip(self, *arguments):
        pip = [sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check"]
        return run(*pip, *arguments, cwd=self.folder).stdout

    def install(self, *arguments):
        self.pip("install", "-q", "--no-deps", "--no-index", *arguments)

    def imports(self, name):
        code = f"import {name}; print({name}.__file__)"
        done = run(self.python, "-c", code, cwd=self.folder, check=False)
        return Path(done.stdout.strip()) if done.returncode == 0 else None

    def files(self):
        return sorted(p for p in self.folder.rglob("site-packages/edge_runtime*/**/*") if p.is_file())


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_what_a_device_installs_is_below_300_kb(wheels):
    (core,), (ops,) = wheels.glob("edge_runtime-*.whl"), wheels.glob("edge_runtime_ops-*.whl")
    sizes, names = [], []
    for wheel in (core, ops):
        with zipfile.ZipFile(wheel) as archive:
            sizes.append(sum(e.file_size for e in archive.infolist()))
            names.append({e.filename for e in archive.infolist()})

    assert sizes[0] < LARGEST_CORE_BYTES
    assert names[0] & names[1] == set()
    tree = {p.relative_to(ROOT / "edge_runtime/src").as_posix() for p in (ROOT / "edge_runtime/src").rglob("*.py")}
    assert {n for n in names[0] | names[1] if n.endswith(".py")} == tree


def test_the_first_alone_says_what_is_missing(wheels, place):
    place.pip("install", "-q", "-c", ROOT / "constraints.txt", *wheels.glob("edge_runtime-*.whl"))
    programs = place.folder / "venv/bin"

    for command, wanted in (
        (["edge-runtime", "serve", "bundle", "--port", "1"], "edge-runtime serve"),
        (["edge-runtime", "watch", "--help"], "edge-runtime watch"),
        (["edge-bench", "bundle"], "edge-bench"),
    ):
        done = run(programs / command[0], *command[1:], cwd=place.folder, check=False)
        assert done.returncode == 1
        text = f"error: {wanted}: this part is not installed\n  fix: pip install edge-runtime-ops\n"
        assert done.stderr == text
    shown = run(programs / "edge-runtime", "--help", cwd=place.folder).stdout
    assert shown.count("not installed: pip install edge-runtime-ops") == 3
    done = run(place.python, "-c", "from edge_runtime import Monitor", cwd=place.folder, check=False)
    last = done.stderr.strip().splitlines()[-2:]
    assert last[0].endswith("edge_runtime.Monitor: this part is not installed")
    assert last[1] == "  fix: pip install edge-runtime-ops"


def test_together_apart_and_again(wheels, place):
    place.install("--find-links", wheels, "edge-runtime", "edge-runtime-ops")
    both = place.files()
    assert place.imports("edge_runtime.serve") == place.imports("edge_runtime").parent / "serve/__init__.py"

    place.pip("uninstall", "-q", "-y", "edge-runtime-ops")
    assert place.imports("edge_runtime.serve") is None
    assert place.imports("edge_runtime.errors")

    place.install("--find-links", wheels, "edge-runtime-ops")
    assert place.files() == both
    place.install("--find-links", wheels, "--force-reinstall", "edge-runtime")  # as an upgrade does
    assert place.files() == both
    place.pip("uninstall", "-q", "-y", "edge-runtime", "edge-runtime-ops")
    assert place.files() == []


def test_from_the_folders_and_editable(source, place):
    with_network = ["install", "-q", "--no-deps"]  # the build backend
    place.pip(*with_network, source, source / "ops")
    assert place.imports("edge_runtime.edge_stats").is_relative_to(place.folder)

    place.pip(*with_network, "-e", source)
    assert place.imports("edge_runtime.errors").is_relative_to(source)
    place.pip(*with_network, "-e", source / "ops")
    assert place.imports("edge_runtime.edge_stats").is_relative_to(source)
    place.pip("uninstall", "-q", "-y", "edge-runtime-ops")
    assert place.imports("edge_runtime.edge_stats").is_relative_to(source)  # the first one's folder has all
