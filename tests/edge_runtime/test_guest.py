"""The runtime as a guest in somebody's process: it changes nothing, brings no engine unasked, survives a fork.

Each probe runs in a process of its own: this one has imported everything already.
"""

import ast
import builtins
import os
import subprocess
import sys
from pathlib import Path

import edge_runtime
import pytest

from tests.edge_runtime.engines_here import FORM, FORMS

SOURCES = sorted(Path(edge_runtime.__file__).parent.rglob("*.py"))
PROBE = """
import gc, locale, logging, os, signal, sys, threading, warnings
import numpy as np

def state():
    return {
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
        "logging": (logging.root.handlers[:], logging.root.level, sorted(logging.root.manager.loggerDict)),
        "threads": sorted(os.listdir("/proc/self/task")) if SYSTEM_THREADS else threading.active_count(),
        "signals": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)],
        "numpy": (np.geterr(), np.get_printoptions()),
        "python": (sys.path[:], sys.excepthook, sys.getrecursionlimit(), gc.isenabled()),
        "locale": locale.setlocale(locale.LC_ALL),
    }
"""
IMPORT = """
SYSTEM_THREADS = True
before = state()
import edge_runtime
{sabotage}
after = state()
assert after == before, [k for k in before if before[k] != after[k]]
heavy = "onnxruntime ai_edge_litert tflite_runtime torch compress PIL asyncio zipfile socket multiprocessing".split()
print([name for name in heavy if name in sys.modules])
"""
USE = """
SYSTEM_THREADS = False
import edge_runtime
before = state()
for engine in FORMS:
    with edge_runtime.load(BUNDLE, engine=engine) as model:
        model.predict(np.zeros((4, 5)))
        assert model.check().ok
after = state()
assert after == before, [k for k in before if before[k] != after[k]]
"""
FORK = """
import edge_runtime
for engine in FORMS:
    model = edge_runtime.load(BUNDLE, engine=engine, threads=4)
    expected = model.predict(np.zeros((4, 5))).scores
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a hang in the child is a failure, not a wait
        same = np.array_equal(model.predict(np.zeros((4, 5))).scores, expected)
        sys.exit(0 if same else 1)  # the long way out, past all destructors
    assert os.waitpid(child, 0)[1] == 0, engine
    assert np.array_equal(model.predict(np.zeros((4, 5))).scores, expected)
"""


def probe(script, bundle=""):
    clean = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "PYTHONPATH")}
    code = PROBE + f"BUNDLE = {str(bundle)!r}\nFORMS = {FORMS!r}\n" + script
    return subprocess.run(
        [sys.executable, "-c", code], env=clean, capture_output=True, text=True, timeout=60, check=False
    )


def test_import_changes_nothing_and_brings_no_engine():
    done = probe(IMPORT.replace("{sabotage}", ""))

    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize(
    ("leak", "name"),
    [
        ("os.environ['X'] = '1'", "environment"),
        ("warnings.simplefilter('ignore')", "warnings"),
        ("logging.basicConfig()", "logging"),
        ("threading.Thread(target=threading.Event().wait, daemon=True).start()", "threads"),
        ("signal.signal(signal.SIGTERM, lambda *_: None)", "signals"),
        ("np.seterr(all='raise')", "numpy"),
    ],
)
def test_canary_the_probe_notices_a_leak(leak, name):
    assert f"AssertionError: ['{name}']" in probe(IMPORT.replace("{sabotage}", leak)).stderr


def test_loading_and_running_both_engines_changes_nothing_of_the_hosts(bundle):
    done = probe(USE, bundle)

    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize("last", ["", "model.close()"])
def test_a_model_with_threads_answers_in_a_forked_child(bundle, last):
    done = probe(FORK.replace("sys.exit", f"{last}\n        sys.exit"), bundle)

    assert done.returncode == 0, done.stderr


def test_a_bundle_changed_since_the_fork_is_refused_in_the_child(bundle):
    change = f"open(BUNDLE + '/model.{FORM}', 'ab').write(b'x')"
    script = FORK.replace("    child = os.fork()", f"    {change}\n    child = os.fork()")

    assert f"the manifest promises {(bundle / f'model.{FORM}').stat().st_size}" in probe(script, bundle).stderr


# --- Python 3.9, as it is on the devices ---


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_source_is_python_3_9(path):
    assert newer_than_3_9(path.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "match 1:\n    case 1: pass\n",
        "x: int | None = None\n",
        "def f(x: 'int') -> int | None: ...\n",
        "from __future__ import annotations\nAlias = int | None\n",
        "from __future__ import annotations\nisinstance(1, int | str)\n",
        "zip([], [], strict=True)\n",
        "from dataclasses import dataclass\n@dataclass(slots=True)\nclass A: ...\n",
        "try: pass\nexcept* ValueError: pass\n",
    ],
)
def test_canary_newer_syntax_is_noticed(text):
    assert newer_than_3_9(text)


def newer_than_3_9(text):
    """What Python 3.9 could not run: newer syntax, unions of types at run time, newer keyword arguments."""
    try:
        tree = ast.parse(text, feature_version=(3, 9))
    except SyntaxError as error:
        return [str(error)]
    found = [f"line {n.lineno}: except*" for n in ast.walk(tree) if type(n).__name__ == "TryStar"]
    lazy = any(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in tree.body)
    annotations = set()
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            if lazy and getattr(node, name, None) is not None:
                annotations |= {id(n) for n in ast.walk(getattr(node, name))}
        if isinstance(node, ast.Call):
            found += [f"line {node.lineno}: {k.arg}=" for k in node.keywords if k.arg in ("strict", "slots", "kw_only")]
    for node in ast.walk(tree):
        union = isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr) and id(node) not in annotations
        if union and any(is_type(side) for side in (node.left, node.right)):
            found.append(f"line {node.lineno}: a union of types at run time")
    return found


def is_type(node):
    builtin = isinstance(node, ast.Name) and isinstance(getattr(builtins, node.id, None), type)
    return builtin or isinstance(node, ast.Subscript) or (isinstance(node, ast.Constant) and node.value is None)


def test_nothing_of_compress_is_imported():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.split(".")[0] in ("compress", "torch")], path.name


def test_public_names_are_these():
    assert sorted(edge_runtime.__all__) == [
        *("Alarm", "BundleError", "CheckReport", "EdgeError", "EngineError", "InputError", "Limit", "Model", "Monitor"),
        *("MonitorError", "Prediction", "Statistics", "load"),
    ]
    assert all(hasattr(edge_runtime, name) for name in edge_runtime.__all__)
