"""`edge-runtime update|rollback|versions`: what they print, and their exit codes."""

import json
import re
import sys

import numpy as np
import pytest
from edge_runtime.cli import main
from edge_runtime.store import Store


@pytest.fixture
def run(capsys, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent")  # self-tests in this process: quicker

    def call(*arguments):
        code = main([str(a) for a in arguments])
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def test_a_life_of_a_store(run, bundles, tmp_path):
    folder = tmp_path / "s"
    assert run("update", folder, bundles("v1"))[:2][0] == 0
    code, out, _ = run("update", folder, bundles("v2"), "--trial-calls", 5)
    assert (code, bool(re.fullmatch(r"tiny-\w{12} is current, on trial for 5 calls\n", out))) == (0, True)
    v1, v2 = Store(folder).state().recent[0], Store(folder).state().current

    code, out, _ = run("versions", folder)
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["version", "state", "bytes", "note"]
    assert {line[0]: line[1] for line in lines[1:]} == {v1: "previous", v2: "trial"}

    assert run("rollback", folder, "--reason", "owls") == (0, f"back to {v1}\n", "")
    code, _, err = run("update", folder, bundles("v2"))
    assert code == 1
    assert re.search(rf"version {v2} was rejected before \(.*owls\)\n  fix: .*--force", err)
    assert run("update", folder, v2, "--force", "--as", "canary", "--share", 1.0)[0] == 0
    with Store(folder).open() as model:
        model.predict(np.zeros((4, 5), np.uint8))
    assert f"canary {v2} beside {v1}: 1 examples, 0 errors" in run("versions", folder)[1]

    answer = json.loads(run("versions", folder, "--history", "--json")[1])
    assert [e["event"] for e in answer["history"]][-2:] == [f"rollback from {v2}: owls", f"canary of {v2}"]
    assert answer["comparisons"][0]["mode"] == "canary"


def test_what_fails_exits_1_with_a_fix(run, bundles, tmp_path):
    for arguments, message in (
        (("update", tmp_path / "s", bundles("wrong")), "is not fit for this device: FAILED"),
        (("update", tmp_path / "s", tmp_path / "none"), "no such folder"),
        (("update", tmp_path / "s", bundles("v1"), "--trial-calls", -1), "calls is -1"),
        (("update", tmp_path / "s", bundles("v1"), "--token-file", tmp_path / "t"), "no token can be read"),
        (("update", tmp_path, bundles("v1")), "holds other things"),
        (("rollback", tmp_path / "none"), "no model store"),
        (("rollback", tmp_path / "s", "--to", "../x"), "is not installed"),
        (("versions", tmp_path), "no model store"),
    ):
        code, out, err = run(*arguments)
        assert (code, out) == (1, ""), arguments
        assert re.search(message, err), err
        assert "\n  fix: " in err
