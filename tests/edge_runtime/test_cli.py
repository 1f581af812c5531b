"""The command line, in process and as installed: output, JSON, exit codes, and never a traceback."""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import edge_runtime
import numpy as np
import pytest
from edge_runtime.cli import main

from tests.edge_runtime.engines_here import ENGINE_MODULES, with_onnx


@pytest.fixture
def run(capsys):
    """main with captured output: (exit code, stdout, stderr)."""

    def call(*arguments):
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as stop:  # argparse
            code = stop.code
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


@pytest.fixture
def image(tmp_path):
    np.save(tmp_path / "one.npy", np.arange(20, dtype=np.uint8).reshape(4, 5))
    return tmp_path / "one.npy"


def test_info_is_aligned_and_starts_no_engine(run, bundle, monkeypatch):
    monkeypatch.setattr("edge_runtime.model.ENGINES", {})

    code, out, _ = run("info", bundle)

    assert code == 0
    assert out.splitlines() == [
        "name       tiny",
        "made by    tests",
        "task       image-classification",
        "labels     3: cat, dog, owl",
        "input      (height, width) or (height, width, 1) images of any size, resized to 4 x 5",
        "onnx       model.onnx, float32, 425 bytes, input float32 [1, 4, 5] NCHW",
        "tflite     model.tflite, float32, 716 bytes, input float32 [4, 5, 1] NHWC",
        "self-test  agreement 80.0%, logits within 0.2",
    ]
    assert json.loads(run("info", bundle, "--json")[1]) == json.loads((bundle / "manifest.json").read_text())


@with_onnx
def test_check_runs_every_engine_and_fails_when_one_fails(run, make_bundle):
    code, out, _ = run("check", make_bundle())
    assert code == 0
    assert re.search(r"^files   3 checksums are right\nonnx    passed: .*\ntflite  passed: ", out)

    bad = make_bundle(name="bad", logits=np.zeros((8, 3), np.float32))
    code, out, _ = run("check", bad)
    assert code == 1
    assert out.count("FAILED: ") == 2
    answer = json.loads(run("check", bad, "--json", "--engine", "onnx")[1])
    assert answer["ok"] is False
    assert list(answer["models"]) == ["onnx"]


def test_check_compares_files_that_no_engine_opens(run, bundle):
    with (bundle / "model.tflite").open("r+b") as file:
        file.seek(300)
        file.write(b"\xff\xfe")

    code, out, err = run("check", bundle, "--engine", "onnx")

    assert (code, out) == (1, "")
    assert "model.tflite: its checksum is not the manifest's" in err


def test_check_names_engines_that_are_not_installed(run, bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, out, _ = run("check", bundle)
    assert code == 0
    assert "onnx    not run: no engine is installed" in out

    assert run("check", bundle, "--engine", "onnx")[0] == 1
    for module in ENGINE_MODULES["tflite"]:
        monkeypatch.setitem(sys.modules, module, None)
    code, _, err = run("check", bundle)
    assert code == 1
    assert "fix: pip install edge-runtime[onnx] or edge-runtime[tflite]" in err


def test_predict_shows_the_best_labels_of_each_file_and_example(run, bundle, image, tmp_path):
    np.save(tmp_path / "two.npy", np.zeros((2, 4, 5), np.uint8))
    expected = edge_runtime.load(bundle).predict(image)

    code, out, _ = run("predict", bundle, image, tmp_path / "two.npy", "--top", 2)

    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert lines[0] == ["input", "label", "score", "ms"]
    assert lines[1][:3] == [str(image), expected.label, f"{expected.score:.4f}"]
    assert len(lines[2]) == 2
    assert [line[0] for line in lines[3::2]] == [f"{tmp_path}/two.npy[0]", f"{tmp_path}/two.npy[1]"]
    answer = json.loads(run("predict", bundle, image, "--json", "--top", 9)[1])
    assert [t["score"] for t in answer[0]["top"]] == sorted(expected.scores.tolist(), reverse=True)


def test_predict_names_the_file_at_fault(run, bundle, image, tmp_path):
    np.save(tmp_path / "night.npy", np.full((4, 5), np.nan))

    code, out, err = run("predict", bundle, image, tmp_path / "night.npy")

    assert (code, out) == (2, "")
    assert err.startswith(f"error: {tmp_path}/night.npy: example 0 of 1 holds NaN")


def test_bench_reports_engine_and_predict_apart(run, bundle, monkeypatch):
    monkeypatch.setattr("edge_runtime.commands.bench._WARM_UP_S", 0.0)

    code, out, _ = run("bench", bundle, "--runs", 20)
    assert code == 0
    assert re.search(r"threads 1 +p50 ms +p90 ms\nengine call +[\d.]+ +[\d.]+\npredict +[\d.]+ +[\d.]+\n20 runs", out)

    answer = json.loads(run("bench", bundle, "--runs", 20, "--json", "--engine", "tflite")[1])
    assert answer["engine"].startswith(("ai-edge-litert", "tflite-runtime"))
    for part in ("engine_call", "predict"):  # not one against the other: a busy machine may turn two medians around
        assert 0 < answer[part]["p50_ms"] <= answer[part]["p90_ms"]


@pytest.mark.parametrize("command", ["info", "check", "predict", "bench"])
def test_a_folder_without_a_bundle_is_one_clear_error(run, tmp_path, image, command):
    code, out, err = run(command, tmp_path / "no", *([image] if command == "predict" else []))

    assert (code, out) == (1, "")
    assert err == f"error: {tmp_path}/no: no such folder\n  fix: give the folder that holds manifest.json\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("train", "x"), "invalid choice: 'train'"),
        (("bench", "x", "--runs", "0"), "0 is not from 1 to 1,000,000"),
        (("bench", "x", "--threads", "many"), "invalid positive value: 'many'"),
        (("info", "x", "--engine", "onnx"), "unrecognized arguments"),
        (("check", "x", "--engine", "cuda"), "invalid choice: 'cuda'"),
    ],
)
def test_wrong_usage_exits_2(run, arguments, message):
    code, _, err = run(*arguments)

    assert code == 2
    assert re.search(message, err)


def test_wrong_input_exits_2_and_names_the_file(run, bundle, tmp_path):
    np.save(tmp_path / "bad.npy", np.full((4, 5), np.nan))

    for file, message in (("bad.npy", "holds NaN"), ("none.npy", "none.npy: the file is missing")):
        code, out, err = run("predict", bundle, tmp_path / file)
        assert (code, out) == (2, "")
        assert message in err
        assert "  fix: " in err


def shell(*arguments, **environment):
    clean = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH")} | environment
    command = [sys.executable, "-m", "edge_runtime", *map(str, arguments)]
    return subprocess.run(command, env=clean, capture_output=True, text=True, timeout=60, check=False)


def test_as_a_program_it_prints_errors_not_tracebacks(tmp_path):
    done = shell("info", tmp_path)

    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path}/manifest.json: the file is missing\n  fix: ")
    assert "Traceback" not in done.stderr


def test_a_label_the_terminal_cannot_show_is_no_reason_to_fail(bundle):
    path = bundle / "manifest.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"cat"', '"кот"'), encoding="utf-8")

    done = shell("info", bundle, PYTHONIOENCODING="ascii")

    assert done.returncode == 0
    assert "3: \\u043a\\u043e\\u0442, dog, owl" in done.stdout


def test_the_readme_holds_five_lines_that_work(bundle, image, tmp_path, monkeypatch, capsys):
    readme = Path(__file__).parents[2] / "edge_runtime" / "README.md"
    code = re.search(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    assert code
    monkeypatch.chdir(tmp_path)  # where the fixture has put "bundle"

    exec(code.group(1), {"image": np.load(image)})

    assert re.fullmatch(r"(cat|dog|owl): \d+% in \d+\.\d\d ms\n", capsys.readouterr().out)


def test_every_command_of_the_readme_exists(run, bundle, image, tmp_path):
    pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from edge_runtime.signing import write_signature

    key = Ed25519PrivateKey.generate()
    raw = key.public_key().public_bytes_raw()
    write_signature(bundle, raw, key.sign((bundle / "manifest.json").read_bytes()))
    der = bytes.fromhex("302a300506032b6570032100") + raw
    pem = f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(der).decode()}\n-----END PUBLIC KEY-----\n"
    (tmp_path / "release.pub").write_text(pem)
    readme = (Path(__file__).parents[2] / "edge_runtime" / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    edge-runtime (.*)$", readme, re.MULTILINE)
    assert len(commands) == 5
    stand_for = {"bundle": bundle, "photo.png": image, "release.pub": tmp_path / "release.pub"}

    for command in commands:
        words = [stand_for.get(w, w) for w in command.split()]
        assert run(*words)[0] == 0, command


# --- other kinds of bundle ---


@pytest.fixture
def texts(tmp_path):
    pytest.importorskip("tokenizers")
    from tests.edge_runtime.tiny_texts import write_text_bundle

    return write_text_bundle(tmp_path / "texts")


def test_texts_are_labelled_from_the_command_line_and_from_files(run, texts, tmp_path):
    (tmp_path / "reviews.txt").write_text("good film\n\nbad, not good: " + "film " * 30 + "\n", encoding="utf-8")

    code, out, _ = run("predict", texts, "--text", "a good film", tmp_path / "reviews.txt")

    assert code == 0
    lines = out.splitlines()
    assert [line.split("  ")[0] for line in lines[:3]] == ["input", "a good film", "good film"]
    assert lines[3].startswith("bad, not good: film film")
    assert "...  " in lines[3]
    answer = json.loads(run("predict", texts, "--text", "a good film", "--json")[1])
    assert answer[0]["top"][0]["label"] in ("good", "bad")
    assert "texts, of which the first 16 tokens count" in run("info", texts)[1]
    assert "signatures for 4, 8, 16 ids" in run("info", texts)[1]
    assert run("check", texts)[0] == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "the file holds no text"), (b"caf\xe9", "not UTF-8 at byte 3"), (None, "the file is missing")],
)
def test_a_text_file_that_cannot_be_read_is_named(run, texts, tmp_path, content, message):
    if content is not None:
        (tmp_path / "x.txt").write_bytes(content)

    code, _, err = run("predict", texts, tmp_path / "x.txt")

    assert (code, message in err) == (2, True)


def test_text_for_an_image_model_and_nothing_at_all_are_refused(run, bundle):
    assert "--text is for models that take texts" in run("predict", bundle, "--text", "x")[2]
    assert run("predict", bundle)[::2] == (
        2,
        "error: edge-runtime predict: nothing to label\n  fix: name a file, or give --text for a text model\n",
    )


@with_onnx
def test_a_recording_is_cut_into_windows(run, tmp_path):
    from tests.edge_runtime.test_window_tensors import RAW, sensor_bundle

    folder = sensor_bundle(tmp_path / "sensor")
    np.savetxt(tmp_path / "run.csv", RAW[:3].reshape(18, 2), delimiter=",")
    np.savetxt(tmp_path / "odd.csv", RAW[:3].reshape(18, 2)[:17], delimiter=",")

    code, out, _ = run("predict", folder, tmp_path / "run.csv", "--json")

    assert code == 0
    answer = json.loads(out)
    assert [a["input"] for a in answer] == [f"{tmp_path}/run.csv[{i}]" for i in range(3)]
    assert "17 rows are no whole number of windows" in run("predict", folder, tmp_path / "odd.csv")[2]


@with_onnx
def test_a_bundle_of_tensors_prints_its_outputs(run, tmp_path):
    from tests.edge_runtime.test_window_tensors import example, given_bundle

    folder = given_bundle(tmp_path / "given")
    np.savez(tmp_path / "in.npz", **example(1))

    code, out, _ = run("predict", folder, tmp_path / "in.npz")

    assert code == 0
    assert [line.split()[1] for line in out.splitlines()] == ["output", "out", "state_out"]
    assert "float32 [1, 4]  0, 3, 6, 9" in out
    assert json.loads(run("predict", folder, tmp_path / "in.npz", "--json")[1])[0]["outputs"]["state_out"] == [6.0, 7.0]
    assert "none: its outputs are given by name" in run("info", folder)[1]
    assert "outputs" in run("bench", folder, "--runs", 5)[1]
    (tmp_path / "x.npy").write_bytes(b"")
    assert "no .npz file" in run("predict", folder, tmp_path / "x.npy")[2]


def test_the_engines_greeting_is_no_part_of_a_commands_output(bundle, image):
    done = shell("predict", bundle, image, "--engine", "tflite")

    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_under_the_output_is_one_clear_error(bundle):
    command = [sys.executable, "-m", "edge_runtime", "info", str(bundle)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (
        1, "error: the output: No space left on device\n  fix: see that it can be written and has space left\n"
    )  # fmt: skip
