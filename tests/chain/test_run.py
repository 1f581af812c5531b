"""compress run, end to end on real data: what it leaves, what it claims, and whether the claims are true."""

import hashlib
import json
import shutil

import edge_runtime
import numpy as np
import onnx
import pytest

from compress.data.sources import open_data
from compress.model.checkpoint import load_checkpoint
from compress.recipe.schema import DataConfig
from compress.result import load_result

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(finished):
    return finished.folder / "runs" / "digits_tiny"


@pytest.fixture(scope="module")
def result(run):
    return load_result(run / "result.json")


def bundle_digest(run):
    files = sorted(p for p in (run / "bundle").rglob("*") if p.is_file())
    return hashlib.sha256(b"".join(p.name.encode() + p.read_bytes() for p in files)).hexdigest()


def test_everything_a_run_promises_is_there(run):
    assert {p.name for p in run.iterdir() if not p.name.startswith(".")} == {
        *(
            "plan.json",
            "run.json",
            "result.json",
            "report.html",
            "report.md",
            "checkpoints",
            "artefacts",
            "bundle",
            "predictions",
        )
    }
    assert [p.name for p in sorted((run / "checkpoints").iterdir())] == [
        *("00-teacher", "01-distill", "02-prune", "03-quantize")
    ]


def test_accuracy_in_the_result_is_what_the_shipped_file_does(run, result):
    data = open_data(DataConfig(source="digits", limit=500, calibration=64), 0).load()
    with edge_runtime.load(run / "bundle") as model:
        logits = model.logits(data.test.x)
    claimed = next(a for a in result.artefact(result.shipped).accuracy if a.split == "test")

    assert claimed.count == len(data.test)
    assert claimed.correct == int((logits.argmax(1) == data.test.y).sum())


def test_sizes_and_sums_are_those_of_the_files(run, result):
    for artefact in result.artefacts:
        content = (run / artefact.path).read_bytes()
        assert artefact.size_bytes == len(content)
        assert artefact.sha256 == hashlib.sha256(content).hexdigest()


def test_every_layer_of_the_int8_files_runs_in_integers(result):
    for identity in ("03-quantize.onnx", "03-quantize.tflite"):
        artefact = result.artefact(identity)
        assert artefact.precision == "int8"
        assert {row.kernel for row in artefact.layers} == {"integer"}
    assert result.artefact("00-teacher.onnx").kernels["float"] == len(result.artefact("00-teacher.onnx").layers)
    assert result.artefact("03-quantize-float16.tflite").precision == "float16"


def test_pruned_channels_are_gone_from_the_exported_file(run, result):
    begun, pruned = (load_checkpoint(run / "checkpoints" / n).graph for n in ("01-distill", "02-prune"))
    file = onnx.load(run / "artefacts" / "02-prune.onnx" / "model.onnx")
    shapes = sorted(tuple(t.dims) for t in file.graph.initializer if len(t.dims) == 4)
    want = sorted(
        (n.attrs["out_channels"], n.attrs["in_channels"] // n.attrs["groups"], *n.attrs["kernel"])
        for n in pruned.layers if n.op == "conv2d"
    )  # fmt: skip

    assert shapes == want
    assert sum(s[0] for s in shapes) < sum(n.attrs["out_channels"] for n in begun.layers if n.op == "conv2d")
    changed = [r for r in result.artefact("02-prune.onnx").layers if r.channels_after < r.channels_before]
    assert changed


def test_the_ledger_covers_every_file_and_holds(result):
    conversions = {h.target for h in result.ledger if h.kind == "conversion"}

    assert conversions == {a.id for a in result.artefacts}
    assert all(h.ok for h in result.ledger)
    int8 = [h for h in result.ledger if h.target in ("03-quantize.onnx", "03-quantize.tflite")]
    assert min(h.agreement for h in int8) >= 0.97  # 1 or 2 of about 100 examples on a barely trained net


def test_raw_latency_samples_are_kept(result):
    for artefact in result.artefacts:
        (latency,) = artefact.latency
        assert latency.label == "measured"
        assert len(latency.processes_ms) >= 2
        assert all(p for p in latency.processes_ms)


def test_a_finished_run_is_looked_up_without_torch_and_ships_the_same_bytes(finished, run, tmp_path):
    before = bundle_digest(run)
    code = (
        "import sys\nfrom compress.cli import main\n"
        "try:\n    main(['run', 'recipe.yaml'])\nexcept SystemExit as e:\n    assert not e.code, e.code\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'ai_edge_litert'} & set(sys.modules); assert not heavy, heavy"
    )
    (finished.folder / "again.py").write_text(code)
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "again.py"], cwd=finished.folder, env=finished.environment,
                          capture_output=True, text=True)  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert bundle_digest(run) == before
    assert all(s["cached"] for s in json.loads((run / "run.json").read_text())["steps"])


def test_the_same_recipe_and_seed_give_the_same_bytes_from_nothing(finished, cli, run):
    done = cli("run", "recipe.yaml")

    assert done.stderr == ""  # LiteRT's notice too
    assert bundle_digest(cli.folder / "runs" / "digits_tiny") == bundle_digest(run)


def test_another_seed_gives_another_model(finished, cli, run):
    cli("run", "recipe.yaml", "--set", "seed=1")

    assert bundle_digest(cli.folder / "runs" / "digits_tiny") != bundle_digest(run)


def test_a_damaged_cache_entry_is_reported_and_made_again(finished, cli, run):
    shutil.copytree(finished.folder / "cache", cli.folder / "cache")
    weights = next((cli.folder / "cache").glob("??/*/weights.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-8])
    done = cli("run", "recipe.yaml")

    assert "is damaged (weights.safetensors does not match its checksum); it is removed and made again" in " ".join(
        done.stdout.split()
    )
    assert bundle_digest(cli.folder / "runs" / "digits_tiny") == bundle_digest(run)


def test_a_missed_budget_saves_everything_says_by_how_much_and_exits_3(finished, cli):
    shutil.copytree(finished.folder / "cache", cli.folder / "cache")
    done = cli("run", "recipe.yaml", "--set", "budget.size_bytes=1000", check=3)
    message = " ".join(done.stderr.split())

    assert "over budget: size is" in message
    assert "the limit is 1,000" in message
    assert "the bundle is saved all the same" in message
    run = cli.folder / "runs" / "digits_tiny"
    assert edge_runtime.load(run / "bundle").check().ok
    assert not next(b for b in load_result(run / "result.json").budget if b.name == "size").ok


def test_a_result_slower_than_the_teacher_fails_unless_allowed(finished, cli):
    shutil.copytree(finished.folder / "cache", cli.folder / "cache")
    same = ["--set", "student=null", "--set", "stages=[{quantize: {how: static}}]", "--set", "export=[onnx-float32]"]
    done = cli("run", "recipe.yaml", *same, "--set", "allow_slower=false", check=3)

    assert "against the teacher" in done.stderr


def test_a_device_without_onnx_runtime_is_shipped_tflite_alone(finished, cli):
    shutil.copytree(finished.folder / "cache", cli.folder / "cache")
    cli("run", "recipe.yaml", "--set", "target=tflite")
    run = cli.folder / "runs" / "digits_tiny"

    assert load_result(run / "result.json").shipped.endswith(".tflite")
    assert sorted(p.name for p in (run / "bundle").iterdir()) == [
        "manifest.json",
        "model.tflite",
        "reference.npz",
        "statistics.json",
    ]


def test_two_processes_share_a_cache(finished, cli, run):
    import subprocess
    import sys

    command = [sys.executable, "-m", "compress", "run", "recipe.yaml", "--quiet", "--out"]
    pair = [
        subprocess.Popen([*command, f"out{i}"], cwd=cli.folder, env=cli.environment, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
        for i in range(2)
    ]  # fmt: skip
    said = [p.communicate(timeout=110)[0] for p in pair]

    assert [p.returncode for p in pair] == [0, 0], said
    assert bundle_digest(cli.folder / "out0") == bundle_digest(cli.folder / "out1") == bundle_digest(run)


def test_the_bundle_predicts_a_raw_digit(run):
    data = open_data(DataConfig(source="digits", limit=500, calibration=64), 0).load()
    with edge_runtime.load(run / "bundle") as model:
        prediction = model.predict(np.asarray(data.test.x[0]))

    assert prediction.label in data.classes
    assert prediction.latency_ms > 0
