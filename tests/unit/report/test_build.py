import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import samples

from compress.errors import UsageError
from compress.report.build import write_reports
from compress.result import load_result, save_result


def test_reports_are_drawn_from_the_saved_file_alone(tmp_path: Path) -> None:
    save_result(tmp_path / "result.json", samples.good())
    paths = write_reports(load_result(tmp_path / "result.json"), tmp_path)
    assert [p.name for p in paths] == ["report.html", "report.md"]
    again = tmp_path / "again"
    again.mkdir()
    for path, other in zip(paths, write_reports(samples.good(), again), strict=True):
        assert path.read_bytes() == other.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "report.html", "report.md", "result.json"]
    assert stat.S_IMODE(paths[0].stat().st_mode) == 0o644


def test_a_result_that_cannot_be_drawn_leaves_the_old_report(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("old")
    with pytest.raises(UsageError, match="no artefact"):
        write_reports(samples.good().model_copy(update={"artefacts": ()}), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "old"


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="the report cannot be written: No such file or directory\n  fix: give a folder"
    ):
        write_reports(samples.good(), tmp_path / "nowhere")


def test_a_failed_rename_leaves_no_scrap(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        write_reports(samples.good(), tmp_path)
    assert os.listdir(tmp_path) == ["report.html"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "there is no such file\n  fix: give a run folder or its result.json"),
        ("{", "it cannot be read: .*\n  fix: run the recipe again"),
        ("[]", "it is no compress result\n  fix: give a run folder"),
        ({"version": 7}, "result version 7, this compress reads 1\n  fix: use the compress that wrote it"),
        ({"seed": "many", "budget": [1]}, r"result.json: seed: .*and 1 more\n  fix: run the recipe again"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
    ],
)
def test_damaged_and_foreign_results_are_explained(tmp_path: Path, change: object, message: str) -> None:
    path = tmp_path / "result.json"
    if isinstance(change, str):
        path.write_text(change)
    elif isinstance(change, dict):
        path.write_text(json.dumps(samples.good().model_dump(mode="json") | change))
    with pytest.raises(UsageError, match=message):
        load_result(path)


def test_a_report_needs_no_heavy_library() -> None:
    code = (
        "import sys; import compress.report.build, compress.report.text.terminal;"
        "print([m for m in ('torch', 'numpy', 'onnx', 'onnxruntime', 'edge_runtime') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
