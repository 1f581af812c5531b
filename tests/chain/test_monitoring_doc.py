"""docs/monitoring.md does what it says: its Python, its shell lines and its recipe, on a real run's bundle."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

DOC = Path(__file__).resolve().parents[2] / "docs" / "monitoring.md"
pytestmark = pytest.mark.slow


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_does_what_it_says(finished, tmp_path):
    from compress.data.sources import open_data
    from compress.recipe.schema import DataConfig

    shutil.copytree(finished.folder / "runs" / "digits_tiny" / "bundle", tmp_path / "bundle")
    data = open_data(DataConfig(source="digits"), 0).load()
    np.save(tmp_path / "frames.npy", data.test.x)
    program = "\n".join(blocks("python")) + "\nmonitor.close()\n"
    # As an app would feed the queue: the page's own second monitor sees one frame only.
    program += 'with edge_runtime.Monitor("bundle", "monitor.sqlite", keep="raw", share=1.0) as m:\n'
    program += '    edge_runtime.load("bundle", monitor=m).predict_batch(frames)\n'
    done = run(sys.executable, "-c", program, cwd=tmp_path)
    assert float(done.stdout.split()[0]) < 1.0  # the first thing printed is the drift level

    programs = {"edge-runtime": (sys.executable, "-m", "edge_runtime"), "compress": (sys.executable, "-m", "compress")}
    for line in "".join(blocks("sh")).splitlines():
        words = shlex.split(line, comments=True)
        if words == ["compress", "label", "field"]:
            label_by_hand(tmp_path)  # its page is tested in a browser
            continue
        done = run(*programs[words[0]], *words[1:], cwd=tmp_path, codes=(0, 3) if words[1] == "watch" else (0,))
        assert done.stdout
    assert (tmp_path / "monitor.html").stat().st_size > 10_000

    (extra,) = [b for b in blocks("yaml") if "extra" in b]
    recipe = finished.folder.joinpath("recipe.yaml").read_text()
    (tmp_path / "recipe.yaml").write_text(recipe.replace("data: {source: digits, limit: 500, calibration: 64}", extra))
    run(*programs["compress"], "lint", "recipe.yaml", cwd=tmp_path)
    counts = DataConfig(source="digits", extra=(str(tmp_path / "field"),))
    found = open_data(counts, 0).load()
    assert found.added["from the field, left out since held out"] == 3  # the frames are the test split


def label_by_hand(folder):
    """What the page and Label Studio leave behind."""
    rows = [json.loads(line) for line in (folder / "field" / "items.jsonl").read_text().splitlines()]
    lines = [json.dumps({"id": row["id"], "label": row["predicted"]}) + "\n" for row in rows[:3]]
    (folder / "field" / "labels.jsonl").write_text("".join(lines))
    tasks = json.loads((folder / "field" / "label_studio.json").read_text())
    done = [{**t, "annotations": [{"result": t["predictions"][0]["result"], "updated_at": "2026"}]} for t in tasks[:3]]
    (folder / "export.json").write_text(json.dumps(done))


def run(*command, cwd, codes=(0,)):
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=100)
    assert done.returncode in codes, done.stdout + done.stderr
    return done
