"""What every command does alike: paths that are not there, names that are none, terminals that cannot show a sign."""

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from compress.cli import main

MISSING = {
    "quantize": ["quantize", "gone", "--data", "file"],
    "quantize --data": ["quantize", "file", "--data", "gone"],
    "quantize --labels": ["quantize", "file", "--data", "file", "--labels", "gone"],
    "measure": ["measure", "gone"],
    "measure --vs": ["measure", ".", "--vs", "gone"],
    "verify": ["verify", "gone"],
    "huggingface": ["huggingface", "gone", "out"],
    "bundle sign": ["bundle", "sign", "gone", "--key", "file"],
    "label": ["label", "gone"],
    "label --import": ["label", ".", "--import", "gone"],
    "report": ["report", "gone"],
    "compare": ["compare", "gone", "."],
    "blame": ["blame", "gone"],
    "run": ["run", "gone.yaml"],
    "devices": ["devices", "--devices", "gone"],
}


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    return lambda *words: CliRunner().invoke(main, words)


@pytest.mark.parametrize("words", MISSING.values(), ids=MISSING)
def test_what_is_not_there_is_a_wrong_call(call, words):
    done = call(*words)

    assert done.exit_code == 2
    assert "error: gone" in done.output
    assert "there is no such" in done.output
    assert "fix: give" in done.output


def test_a_folder_for_a_file_and_a_file_for_a_folder(call):
    assert "error: .: it is a folder, not a file" in call("quantize", "file", "--data", ".").output
    assert "error: file: it is a file, not a folder" in call("measure", "file").output


NOWHERE = {
    "measure": ["measure", "bundle", "--profile", "smoke", "--out", "file/x"],
    "verify": ["verify", "bundle", "--out", "gone/x.md"],
    "blame": ["blame", "bundle", "--out", "file/x"],
    "blame --fix": ["blame", "bundle", "--fix", "gone/x.yaml"],
}


@pytest.mark.parametrize("words", NOWHERE.values(), ids=NOWHERE)
def test_a_place_that_cannot_be_written_is_told_before_any_work(call, monkeypatch, tmp_path, words):
    (tmp_path / "bundle").mkdir()
    monkeypatch.setattr("compress.benchmark.bundles.job_for", lambda *_, **__: None)
    done = call(*words)

    assert done.exit_code == 2
    assert f"error: {words[-1]}: the folder " in done.output
    assert "fix: choose another" in done.output


def test_a_mistyped_command_is_suggested(call):
    assert "No such command 'rum'. Did you mean 'run'?" in call("rum").output
    assert call("xyzzy").output.endswith("No such command 'xyzzy'.\n")


def test_a_terminal_of_ascii_alone_gets_plain_signs(tmp_path):
    (tmp_path / "wide.py").write_text(
        "import click, compress.cli, rich\n"
        "compress.cli._Group.get_command = lambda *_: click.Command('x', callback=lambda: rich.print('−1 × 2 → ü ✓'))\n"
        "compress.cli.main(['nets'])\n"
    )
    latin = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "wide.py"], cwd=tmp_path, env=latin, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "-1 x 2 -> ? ok\n"), done.stderr
