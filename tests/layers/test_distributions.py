"""edge-runtime and edge-runtime-ops share one tree: each file is in one of them, the first does without the second."""

import ast
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "edge_runtime"
SOURCE = ROOT / "src" / "edge_runtime"
FILES = sorted(p.relative_to(ROOT).as_posix() for p in SOURCE.rglob("*.py"))
CORE, OPS = (tomllib.loads((ROOT / p).read_text()) for p in ("pyproject.toml", "ops/pyproject.toml"))


def wheel(doc):
    return doc["tool"]["hatch"]["build"]["targets"]["wheel"]


def under(path, patterns):
    return any(fnmatch(path, p) or path.startswith(f"{p}/") for p in patterns)


def in_core():
    return {p for p in FILES if not under(p, wheel(CORE)["exclude"])}


def in_ops():
    return {p for p in FILES if under(f"../{p}", wheel(OPS)["force-include"])}


def test_every_file_is_in_exactly_one():
    assert in_core() | in_ops() == set(FILES)
    assert in_core() & in_ops() == set()


def test_files_go_where_the_package_is():
    assert all(source.replace("../src/", "") == target for source, target in wheel(OPS)["force-include"].items())
    assert all((ROOT / "ops" / source).exists() for source in wheel(OPS)["force-include"])


def test_both_have_one_version_and_ask_for_each_other_by_it():
    version = CORE["project"]["version"]
    extras = CORE["project"]["optional-dependencies"]

    assert OPS["project"]["version"] == version
    assert f'__version__ = "{version}"' in (SOURCE / "__init__.py").read_text()
    assert OPS["project"]["dependencies"] == [f"edge-runtime=={version}"]
    assert extras["monitor"] == [f"edge-runtime-ops=={version}"]
    assert extras["serve"] == [f"edge-runtime-ops[serve]=={version}"]


def test_the_first_is_small():
    """Sources alone; the wheel with its metadata is weighed in tests/e2e."""
    assert sum((ROOT / p).stat().st_size for p in in_core()) < 290_000
    assert sum((ROOT / p).stat().st_size for p in FILES) < 600_000


def imported_at_once(tree):
    """Modules that a file imports when it is imported itself."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{a.name}" for a in node.names)
        elif isinstance(node, ast.Try):
            yield from imported_at_once(ast.Module(body=node.body, type_ignores=[]))


def modules(paths):
    return {p.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".") for p in paths}


@pytest.mark.parametrize("path", sorted(in_core()))
def test_the_first_imports_nothing_of_the_second(path):
    found = set(imported_at_once(ast.parse((ROOT / path).read_text())))

    assert found & modules(in_ops()) == set()


def test_an_import_of_it_would_be_seen():
    found = set(imported_at_once(ast.parse("from edge_runtime import edge_stats\nfrom edge_runtime.serve import app")))

    assert found & modules(in_ops()) == {"edge_runtime.edge_stats", "edge_runtime.serve", "edge_runtime.serve.app"}


def test_the_commands_of_the_second_are_known_to_the_first():
    from edge_runtime._parts import COMMANDS

    assert set(COMMANDS) == {Path(p).stem for p in in_ops() if "/commands/" in p}
