"""An emulated Raspberry Pi behind a real sshd, used as a user would: ARM code, its own processes, disk and boots."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pi.board import Board, why_not

from compress.devices.connection import files_under, open_device
from compress.devices.schema import Device
from compress.errors import DeviceError

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "a board runs here"),
]


def compress(*arguments, cwd):
    clean = {k: v for k, v in os.environ.items() if k != "COMPRESS_CACHE"}
    return subprocess.run(
        [sys.executable, "-m", "compress", *arguments], cwd=cwd, capture_output=True, text=True,
        env={**clean, "OMP_NUM_THREADS": "1", "COLUMNS": "150", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def pi4(tmp_path_factory):
    with Board(tmp_path_factory.mktemp("pi4"), "cortex-a72", disk_bytes=2_000_000) as board:
        yield board


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A real int8 bundle with an ONNX and a TFLite file."""
    folder = tmp_path_factory.mktemp("bundle")
    done = compress("run", str(ROOT / "recipes/ptq_int8.yaml"), "--smoke", "--quiet", "--out", "run", "--cache", "c",
                    "--set", f"teacher.checkpoint={ROOT}/recipes/models/mnist_resnet8", cwd=folder)  # fmt: skip
    assert (folder / "run/bundle/manifest.json").exists(), done.stdout + done.stderr
    return folder / "run" / "bundle"


def devices_yaml(folder, *devices):
    keys = ("ssh", "ssh_config", "identity", "python", "workdir", "grace_s", "wheelhouse")
    entries = {d.name: {k: v for k in keys if (v := getattr(d, k)) is not None} for d in devices}
    (folder / "devices.yaml").write_text(yaml.safe_dump(entries))


def test_compress_devices_shows_what_the_board_is(pi4, tmp_path):
    devices_yaml(tmp_path, pi4.device())

    shown = compress("devices", cwd=tmp_path)
    told = compress("devices", "--json", "--device", "pi4", cwd=tmp_path)

    assert shown.returncode == 0, shown.stdout + shown.stderr
    for words in ("4 x Cortex-A72", "aarch64", "emulated", "onnxruntime", "ai-edge-litert", "ondemand", "48 °C"):
        assert words in shown.stdout
    (facts,) = json.loads(told.stdout)
    assert (facts["emulated"], facts["machine"], set(facts["engines"])) == (True, "aarch64", {"onnx", "tflite"})


ANSWERS = """
import sys
import numpy as np, edge_runtime
for engine in sys.argv[1:]:
    model = edge_runtime.load("bundle", engine=engine)
    np.save(f"out/{engine}.npy", model.logits(model.reference()[0]))
"""


def answers(device, bundle, engines, folder):
    """engine -> logits of the bundle's reference examples, from a job on the device."""
    (folder / "main.py").write_text(ANSWERS)
    files = {"main.py": folder / "main.py", **files_under(bundle, "bundle/")}
    done = open_device(device).run_job(files, ["{python}", "main.py", *engines], results=folder / "out")
    assert done.code == 0
    return {engine: np.load(folder / f"out/{engine}.npy") for engine in engines}


def from_here(bundle, engine):
    import edge_runtime

    with edge_runtime.load(bundle, engine=engine) as model:
        return model.logits(model.reference()[0]), model.entry.output.scale


def test_arm_gives_the_answers_of_x86(pi4, bundle, tmp_path):
    found = answers(pi4.device(), bundle, ["onnx", "tflite"], tmp_path)

    for engine, logits in found.items():
        assert np.array_equal(logits, from_here(bundle, engine)[0]), engine


def test_32_bit_arm_gives_them_within_two_steps(bundle, tmp_path):
    expected, step = from_here(bundle, "tflite")
    with Board(tmp_path, "cortex-a7") as pi2:
        found = answers(pi2.device("pi2"), bundle, ["tflite"], tmp_path)["tflite"]

    assert np.abs(found - expected).max() <= 2 * step * 1.0001


def test_a_board_that_reboots_in_the_middle(pi4, tmp_path):
    (tmp_path / "main.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(300)\n")
    reboots = []

    def pull(text):
        if not reboots:
            reboots.append(threading.Thread(target=pi4.reboot, args=(2.0,)))
            reboots[0].start()

    with pytest.raises(DeviceError, match="the device rebooted in the middle\n  fix: look at its power supply"):
        open_device(pi4.device()).run_job(
            {"main.py": tmp_path / "main.py"}, ["{python}", "main.py"], results=tmp_path / "out", on_output=pull
        )
    reboots[0].join()
    again = open_device(pi4.device()).run_job({}, ["{python}", "-c", "print(1)"], results=tmp_path / "again")

    assert again.code == 0
    assert list((pi4.home() / ".cache/compress-device").glob("job-*")) == []


def test_a_tool_that_is_killed_leaves_no_process_on_the_board(pi4, tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom compress.devices.connection import open_device\n"
        "from compress.devices.schema import Device\n"
        "open_device(Device.model_validate_json(sys.argv[1])).run_job({}, ['{python}', '-c', sys.argv[2]], "
        "results=Path('out'), on_output=lambda text: print(text, flush=True))"
    )
    job = "import subprocess, time; subprocess.Popen(['sleep', '900']); print('up', flush=True); time.sleep(900)"
    device = pi4.device(grace_s=15.0)
    tool = subprocess.Popen([sys.executable, "-c", code, device.model_dump_json(), job], cwd=tmp_path,
                            stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert tool.stdout.readline() == "up\n"
    assert any("sleep" in words for words in pi4.processes())

    tool.kill()
    tool.wait()
    tool.stdout.close()

    limit = time.monotonic() + 60
    while pi4.processes():
        assert time.monotonic() < limit, pi4.processes()
        time.sleep(0.5)
    assert list((pi4.home() / ".cache/compress-device").glob("job-*")) == []


def test_a_full_disk(pi4, tmp_path):
    (tmp_path / "big.bin").write_bytes(os.urandom(3_000_000))
    small = pi4.device(workdir="~/small/work")
    with pytest.raises(DeviceError, match=r"the device's disk is full \(\d"):
        open_device(small).run_job({"big.bin": tmp_path / "big.bin"}, ["true"], results=tmp_path / "out")
    filler = "open('x', 'wb').write(bytes(5_000_000))"
    with pytest.raises(DeviceError, match=r"the device's disk is full \(\d"):
        open_device(small).run_job({}, ["{python}", "-c", filler], results=tmp_path / "out")


def test_compress_measure_gives_a_report_of_it_and_of_what_failed(pi4, bundle, tmp_path):
    gone = Device(name="gone", kind="ssh", ssh="127.0.0.1:9")
    devices_yaml(tmp_path, pi4.device(), gone)

    where = ["--device", "pi4", "--device", "gone", "--out", "report"]
    done = compress("measure", str(bundle), *where, "--profile", "smoke", cwd=tmp_path)

    assert done.returncode == 1  # one failed; the other is kept
    assert "gone failed: device gone: 127.0.0.1 cannot be reached: connection refused" in done.stderr
    found = json.loads((tmp_path / "report/measurement.json").read_text())["devices"]["pi4"]
    assert found["label"] == "emulated"
    assert "Cortex-A72" in found["host"]["cpu"]
    assert {m["check"]["ok"] for m in found["models"].values()} == {True}
    assert all(m["summary"]["p50_ms"] is None for m in found["models"].values())
    assert "emulated" in done.stdout
    assert "connection refused" in (tmp_path / "report/logs/gone.log").read_text()
