"""benchmarks/peers: pages are what the committed results make; front, errors and environments are right."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))  # `benchmarks` is a folder of the repository, not a distribution
from benchmarks.peers import contestants, envs, front, measure, table  # noqa: E402
from benchmarks.peers.tasks import TASKS  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "peers"


def row(key="a", top1=0.9, size=1000, ratio=2.0, half=0.01, p_value=1.0, points=0.0, **more):
    return {
        "key": key, "tool": key, "how": "", "error": None, "size_bytes": size, "accuracy": {"top1": top1},
        "paired": {"p_value": p_value, "difference_points": points, "ci95_points": [points - 1, points + 1]},
        "latency": {"ratio": ratio, "ratio_ci95": [ratio - half, ratio + half]},
        "kernels": {"integer": 3, "dynamic-integer": 0, "float": 1}, **more,
    }  # fmt: skip


def failed(key="b", message="Boom | <script>\nsecond line"):
    return {"key": key, "tool": key, "how": "x", "error": message}


def document(rows, **more):
    return {
        "task": "t", "title": "T", "comparison": "teacher", "why": "Why.", "rows": rows, "example_shape": [1, 2],
        "data": {"calibration": 1, "validation": 2, "test": 3}, "host": {"cpu": "X"},
        "timing": {"taken": "2026-01-01", "processes": 5, "load_1min": [0.5, None, 1.25]}, **more,
    }  # fmt: skip


def test_every_page_says_what_the_committed_results_say():
    for path, text in table.pages(RESULTS, ROOT).items():
        assert path.read_text() == text, f"run python -m benchmarks.peers --step table: {path} is out of date"


def test_a_number_that_changes_changes_the_page():
    before = table.section(document([row("float-onnx"), row("a", top1=0.9)]))
    after = table.section(document([row("float-onnx"), row("a", top1=0.9001)]))

    assert before != after


def test_committed_results_hold_every_contestant_or_its_error():
    for doc in table.load(RESULTS):
        keys = {r["key"] for r in doc["rows"]}
        kind = "text" if doc["task"] == "sentiment" else "image"
        assert {p.key for p in contestants.PEERS if kind in p.kinds} <= keys
        assert {"float-onnx", "compress-static-onnx"} <= keys
        for one in doc["rows"]:
            assert one["error"] or one["accuracy"]["count"] == doc["data"]["test"]
            assert one["error"] or one["key"] == "float-onnx" or one["latency"]["ratio_ci95"]
        assert doc["recipe"] == TASKS[doc["task"]].recipe


def test_committed_ratios_follow_from_the_raw_blocks():
    for doc in table.load(RESULTS):
        for one in doc["rows"]:
            if "latency" in one:
                raw = one["latency"]["blocks_ms"]
                again = measure.latency([list(p) for p in zip(raw["reference"], raw["this"], strict=True)])
                assert again == one["latency"]


def test_the_best_of_each_column_is_bold_whoever_it_is():
    text = table.comparison_table([row("compress", top1=0.9, size=900), row("rival", top1=0.95, ratio=3.0)])

    ours, theirs = (line for line in text.splitlines() if line.startswith(("| compress", "| rival")))
    assert "**0.9 kB**" in ours
    assert "**95.00 %**" in theirs
    assert "**3.00×**" in theirs
    assert ours.count("**") == 2


def test_a_failure_is_a_row_with_its_message_and_no_markup():
    text = table.comparison_table([row(), failed()])

    assert "| b, x | failed | | | | | Boom \\| &lt;script> second line |" in text


def test_the_summary_shows_failures_and_what_was_not_run():
    text = table.summary([document([row("float-onnx"), row("compress-chain-onnx"), failed("ort-static")])])

    assert "| ONNX Runtime | failed |" in text
    assert "| Optimum | – |" in text


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (row("b", top1=0.91, size=999, ratio=2.1), "behind"),
        (row("b", size=500), "behind"),
        (row("b", ratio=2.5), "behind"),
        (row("b", size=999), "within-noise"),
        (row("b", ratio=2.01), "within-noise"),
        (row("b", top1=0.91), "within-noise"),
        (row("b", top1=0.91, size=1001), "front"),
        (row("b"), "front"),
        (failed(), "front"),
    ],
)
def test_standing_on_the_front(other, expected):
    assert front.standing(row(), [row(), other])[0] == expected


def test_a_place_on_the_front_by_chance_is_said_to_be_so():
    lucky = row("a", top1=0.91, size=2000, ratio=0.5)

    assert front.standing(lucky, [lucky, row("b")])[0] == "by-accuracy"
    better = row("a", top1=0.95, size=2000, ratio=0.5, p_value=0.001, points=5.0)
    assert front.standing(better, [better, row("b")])[0] == "front"


def test_an_accuracy_that_is_shown_to_be_worse_is_behind():
    worse = row("a", top1=0.88, p_value=0.001, points=-2.0)

    assert front.standing(worse, [worse, row("b")])[0] == "behind"


def test_the_last_words_of_a_process_are_its_error():
    log = "W1 noise\nTraceback (most recent call last):\n  File x\npkg.mod.OddError: 3 is odd\nFailed to clean up\n"

    assert measure.last_words(log) == "pkg.mod.OddError: 3 is odd"
    assert measure.last_words("  assert n > 0\nAssertionError:\nbye") == "AssertionError: assert n > 0"
    assert measure.last_words("only noise\n") == "only noise"
    assert measure.last_words("") == "it said nothing"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'Traceback:' >&2; echo 'ValueError: no such operator' >&2; exit 1", "ValueError: no such operator"),
        ("echo done", "ended without a result"),
    ],
)
def test_a_tool_that_makes_no_file_is_a_failure_with_its_own_words(tmp_path, script, message):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    kit = SimpleNamespace(folder=tmp_path, recipe=SimpleNamespace(task="image-classification"))

    with pytest.raises(contestants.ToolFailed, match=message):
        contestants.make(contestants.PEERS[0], kit, python)


def test_every_contestant_has_its_adapter_its_pins_and_a_source():
    for peer in contestants.PEERS:
        source = (contestants.ADAPTERS / f"{peer.script}.py").read_text()
        assert "https://" in source.split('"""')[1]
        assert envs.pins(peer.env)
        assert "compress" not in source.replace("neural_compressor", "").replace("neural-compressor", "")


def test_pins_that_are_not_kept_are_named():
    wanted = {"Foo_Bar": "1.0", "baz": "2.0", "torch": "2.13.0"}

    assert envs.wrong(wanted, {"foo-bar": "1.0", "baz": "2.1", "torch": "2.13.0+cpu"}) == ["baz 2.1, not 2.0"]
    assert envs.wrong({"a": "1"}, {}) == ["a missing, not 1"]


def test_an_environment_that_pip_refuses_is_reported(tmp_path, monkeypatch):
    pins = tmp_path / "pins"
    pins.mkdir()
    (pins / "odd.txt").write_text("# nothing of this name is installed\nno-such-distribution==0\n")
    monkeypatch.setattr(envs, "PINS", pins)
    home = tmp_path / "home"
    bin_folder = home / "odd" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "python").write_text("#!/bin/sh\necho 'ERROR: no matching distribution' >&2\nexit 1\n")
    (bin_folder / "python").chmod(0o755)

    with pytest.raises(envs.EnvironmentFailed, match="no matching distribution"):
        envs.ready("odd", home)


def test_turns_are_taken_and_a_dead_worker_is_an_error(tmp_path):
    from compress.export.onnx import to_onnx
    from compress.model.module import initial_model
    from compress.model.nets import build_net

    model = initial_model(build_net("ds-cnn", {"width": 8, "blocks": 1}, (1, 8, 8), 3), 0)
    (tmp_path / "float.onnx").write_bytes(to_onnx(model, name="m"))
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    x = np.random.default_rng(0).normal(size=(4, 1, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "test.npz", x=x)
    np.savez(tmp_path / "example.npz", x=x[:1])
    good = measure.Subject(tmp_path / "float.onnx", "onnx", Path(sys.executable), tmp_path)
    bad = measure.Subject(tmp_path / "broken.onnx", "onnx", Path(sys.executable), tmp_path)

    found, _ = measure.time_all(good, {"same": good, "bad": bad}, processes=1, seconds=0.01)
    logits, engine = measure.predict(good)

    blocks = found["same"]["latency"]["blocks_ms"]
    assert len(blocks["reference"][0]) == len(blocks["this"][0]) >= 4
    assert "broken.onnx" in found["bad"]["error"] or "Protobuf" in found["bad"]["error"]
    assert logits.shape == (4, 3)
    assert engine.startswith("onnxruntime")
    assert json.dumps(found)
