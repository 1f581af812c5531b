"""An export that is wrong must not pass: the run fails, names the hop, and still leaves its report."""

import shutil
import subprocess
import sys

import edge_runtime
import pytest

from compress.result import load_result

pytestmark = pytest.mark.slow

SABOTAGE = """\
import numpy as np
import compress.export.tflite as exporter
from compress.cli import main
from compress.model.model import Model
from compress.run import exports

honest = exporter.to_tflite

def wrong(model, **options):
    if not model.graph.quantized:
        return honest(model, **options)
    layer = {f"classifier.{p}" for p in ("weight", "bias", "weight_scale")}
    weights = {k: v * np.float32(1.5) if k in layer else v for k, v in model.weights.items()}
    return honest(Model(model.graph, weights), **options)

exporter.to_tflite = wrong
exports.VERSION += 1  # or the honest files would come out of the cache
main()
"""


def test_one_layer_scaled_wrongly_in_one_file_fails_the_run_and_names_the_hop(finished, cli):
    """The hardest case: the last layer, where a common factor changes no prediction."""
    shutil.copytree(finished.folder / "cache", cli.folder / "cache")
    (cli.folder / "sabotage.py").write_text(SABOTAGE)
    done = subprocess.run([sys.executable, "sabotage.py", "run", "recipe.yaml"], cwd=cli.folder, env=cli.environment,
                          capture_output=True, text=True, timeout=110)  # fmt: skip
    message = " ".join(done.stderr.split())
    run = cli.folder / "runs" / "digits_tiny"
    result = load_result(run / "result.json")

    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "03-quantize to 03-quantize.tflite" in message
    assert "largest difference" in message
    assert [h.name for h in result.ledger if not h.ok] == ["03-quantize to 03-quantize.tflite"]
    assert "03-quantize.tflite" in (run / "report.html").read_text()
    assert result.shipped != "03-quantize.tflite"
    with edge_runtime.load(run / "bundle") as model:
        assert model.check().ok
    assert not list((run / "bundle").glob("*.tflite"))  # nor beside the file that ships
