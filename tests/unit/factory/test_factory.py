"""User code runs only where it was allowed, and what goes wrong in it is told with its file and line."""

import sys

import pytest

from compress.errors import CodeRefusedError, FactoryError
from compress.factory import allowing_code, call_factory

MODULE = """
import json
NUMBER = 3

class Net:
    @staticmethod
    def build(width):
        return ["net", width]

def fails(width):
    return json.loads("{" * width)

def leaves():
    raise SystemExit(2)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A module `own` in the current folder, which no test before this one has imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own", raising=False)
    (tmp_path / "own.py").write_text(MODULE)
    yield tmp_path
    sys.modules.pop("own", None)


def call(spec, **arguments):
    with allowing_code():
        return call_factory(spec, arguments, "teacher.python")


def test_code_is_refused_until_it_is_allowed_and_again_afterwards(package):
    (package / "own.py").write_text("raise RuntimeError('imported')")
    for _ in range(2):
        with pytest.raises(CodeRefusedError, match="running it was not allowed") as caught:
            call_factory("own:build", {}, "teacher.python")
        assert caught.value.fix == "read that code; if you trust it, add --allow-code"
        with pytest.raises(FactoryError, match="imported"):
            call("own:build")
    with allowing_code(False), pytest.raises(CodeRefusedError):
        call_factory("own:build", {}, "teacher.python")


def test_a_function_of_the_current_folder_is_called_with_its_arguments(package):
    before = list(sys.path)
    assert call("own:Net.build", width=3) == ["net", 3]
    assert sys.path == before


@pytest.mark.parametrize(
    ("spec", "arguments", "message"),
    [
        ("absent:build", {}, "there is no module 'absent'"),
        ("own.sub:build", {}, r"there is no module 'own\.sub'"),
        ("own:bild", {}, "own has no 'bild'"),
        ("own:NUMBER", {}, "it is int, nothing to call"),
        ("own:fails", {"width": 1}, r"it raised JSONDecodeError: .*own\.py, line 11, in fails\)"),
        ("own:fails", {"depth": 1}, r"it raised TypeError: fails\(\) got an unexpected keyword argument 'depth'"),
        ("own:leaves", {}, "it raised SystemExit: 2"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(package, spec, arguments, message):
    with pytest.raises(FactoryError, match=message) as caught:
        call(spec, **arguments)
    assert caught.value.where == f"teacher.python {spec}"
    assert "\n" not in caught.value.what


def test_a_module_that_lacks_another_names_that_one(package):
    (package / "own.py").write_text("import not_installed_anywhere\n")
    with pytest.raises(FactoryError, match="No module named 'not_installed_anywhere'") as caught:
        call("own:build")
    assert caught.value.fix == "install not_installed_anywhere"
