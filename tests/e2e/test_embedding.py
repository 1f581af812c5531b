"""docs/embedding.md, run: every block that names a file, with the built wheel, without torch and without compress."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```\w+ file=(\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
TOKEN = "a-token-of-at-least-16-characters"


def run(*command, cwd, check=True, path=None, **environment):
    """A command with a clean environment; `path`: the environment whose programs come first."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    if path is not None:
        clean["PATH"] = f"{path}/bin:{clean['PATH']}"
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, timeout=300,
                          env={**clean, "OMP_NUM_THREADS": "1", **environment})  # fmt: skip
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def venv(tmp_path_factory):
    """A clean environment with the two wheels of edge_runtime, built from what git tracks, and their extras alone."""
    folder = tmp_path_factory.mktemp("embedding")
    tracked = run("git", "ls-files", "-z", "edge_runtime", cwd=ROOT).stdout
    for name in filter(None, tracked.split("\0")):
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    source = folder / "source" / "edge_runtime"
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder / "wheels"]
    run(*command, source, source / "ops", cwd=folder)
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    pip = [folder / "venv/bin/python", "-m", "pip", "-q", "--disable-pip-version-check"]
    wanted = ["--find-links", folder / "wheels", "edge-runtime[onnx,serve]==0.1.0"]
    run(*pip, "install", "-c", ROOT / "constraints.txt", *wanted, cwd=folder)
    listed = run(*pip, "list", "--format", "freeze", cwd=folder).stdout
    assert "torch" not in listed
    assert "compress" not in listed
    return folder / "venv"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Two bundles of random weights, with the reference that a monitor wants."""
    from edge_runtime.preprocessing import Preprocessing
    from edge_runtime.statistics import Statistics

    from compress.export.bundle import write_bundle
    from compress.export.onnx import to_onnx
    from compress.model.module import initial_model
    from compress.model.nets import build_net

    folder = tmp_path_factory.mktemp("bundles")
    images = recorded(300)
    prepared = Preprocessing("image", height=28, width=28, channels=1, scale=1 / 255)
    logits = np.random.default_rng(0).normal(size=(300, 10)).astype(np.float32)
    for seed in (1, 2):
        model = initial_model(build_net("mlp", {"hidden": [32]}, (1, 28, 28), 10), seed)
        write_bundle(
            folder / f"bundle-{seed}", name="digits", task="image-classification", labels=list("0123456789"),
            preprocessing=prepared, files={"onnx": to_onnx(model, name="digits")}, precision="float32",
            reference_inputs=images[:16],
            statistics=Statistics.of(prepared(images), logits, kind="image").to_bytes(),
        )  # fmt: skip
    return folder


def recorded(count):
    return np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8)


@pytest.fixture
def place(tmp_path, bundles):
    """A working folder with the blocks of the page, the bundles and a recording."""
    for name, text in BLOCKS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name in ("bundle-1", "bundle-2"):
        shutil.copytree(bundles / name, tmp_path / name)
    (tmp_path / "recorded").mkdir()
    for i, image in enumerate(recorded(800)):
        np.save(tmp_path / "recorded" / f"{i:03}.npy", image)
    return tmp_path


def test_the_page_holds_what_this_file_runs():
    assert set(BLOCKS) == {
        *("plain.py", "loop.py", "life.sh", "app.py", "serve.sh", "Dockerfile", "cloud_run.sh"),
        *("kiosk-model.service", "kiosk-model-update.service", "kiosk-model-update.timer"),
    }


def test_the_script(venv, place):
    done = run(
        venv / "bin/python", "plain.py", "bundle-1", "recorded/000.npy", "none.npy", "recorded/001.npy", cwd=place
    )

    assert re.fullmatch(r"(recorded/00[01]\.npy: \d \d+% in [\d.]+ ms\n){2}", done.stdout)
    assert "none.npy: the file is missing\n  fix: " in done.stderr


def test_the_loop_takes_an_update_is_rolled_back_and_gives_inputs_to_label(venv, place):
    done = run("sh", "life.sh", cwd=place, path=venv)

    first, second = re.findall(r"^(digits-\w{12}) is current", done.stdout, re.MULTILINE)
    log = (place / "loop.log").read_text()
    assert f"now runs {second}" in log
    assert len(re.findall(r"^\d \d\.\d\d$", log, re.MULTILINE)) == 800
    assert f"back to {first}" in done.stdout
    assert re.search(r"^calls +800 in all", done.stdout, re.MULTILINE)
    assert list((place / "to_label").iterdir())


def test_an_app_of_ones_own(venv, place):
    port = free_port()
    with served([venv / "bin/python", "-m", "uvicorn", "app:app", "--port", str(port)], place, BUNDLE="bundle-1"):
        url = f"http://127.0.0.1:{port}/digit"
        answer = ask(url, json.dumps(recorded(1)[0].tolist()).encode(), "application/json")
        assert set(answer) == {"label", "score"}
        with pytest.raises(urllib.error.HTTPError, match="422"):
            ask(url, b"[[1, 2], [3]]", "application/json")


def test_the_server(venv, place):
    done = run("sh", "serve.sh", cwd=place, path=venv)

    assert '"top": [{"label": ' in done.stdout
    assert done.stdout.count('"label"') == 1 + 3 + 2
    assert re.search(r"edge_server_examples_total\{version=\"digits-\w{12}\"\} 3\.0", done.stdout)
    assert json.loads((place / "openapi.json").read_text())["openapi"].startswith("3.")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_units_are_what_systemd_wants(venv, place):
    units = [place / name for name in BLOCKS if name.startswith("kiosk")]
    for unit in units:
        unit.write_text(unit.read_text().replace("/opt/kiosk/venv", str(venv)))

    done = run("systemd-analyze", "verify", "--man=no", *units, cwd=place, check=False)

    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    units[0].write_text(units[0].read_text().replace("Restart=always", "Restart=perhaps"))
    assert "perhaps" in run("systemd-analyze", "verify", "--man=no", units[0], cwd=place, check=False).stderr  # canary


def test_the_commands_of_the_units_are_ours(venv, place):
    for name in ("kiosk-model.service", "kiosk-model-update.service"):
        (command,) = re.findall(r"^ExecStart=\S+/edge-runtime (\w+) .*$", BLOCKS[name], re.MULTILINE)
        flags = re.findall(r" (--[\w-]+)", re.search(r"^ExecStart=(.*)$", BLOCKS[name], re.MULTILINE)[1])
        shown = run(venv / "bin/edge-runtime", command, "--help", cwd=place).stdout
        assert [f for f in flags if f not in shown] == []


def test_the_dockerfile_is_clean(place):
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not installed")

    assert run(hadolint, "Dockerfile", cwd=place).stdout == ""
    (place / "Dockerfile").write_text(BLOCKS["Dockerfile"].replace("python:3.11-slim", "python"))
    assert "DL3006" in run(hadolint, "Dockerfile", cwd=place, check=False).stdout  # canary


def test_what_the_container_does_works_without_a_container(venv, place):
    """The check and the last command of the Dockerfile, with its paths moved here."""
    moved = BLOCKS["Dockerfile"].replace("/opt/venv", str(venv)).replace("/srv/bundle", str(place / "bundle-1"))
    check, probe, start = (
        json.loads(line) for line in re.findall(r"^(?:RUN| +CMD|CMD) (\[.*\])$", moved, re.MULTILINE)
    )
    assert "passed" in run(*check, cwd=place).stdout
    assert "no token is set" in run(*start, cwd=place, check=False, PORT="0").stderr
    port = free_port()

    with served(start, place, PORT=str(port), EDGE_RUNTIME_TOKEN=TOKEN) as process:
        run(*probe, cwd=place, PORT=str(port))
        body = io.BytesIO()
        np.save(body, recorded(1)[0])
        url = f"http://127.0.0.1:{port}/v1/predict"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(url, body.getvalue(), "application/x-npy")
        answer = ask(url, body.getvalue(), "application/x-npy", Authorization=f"Bearer {TOKEN}")
        assert answer["label"] in "0123456789"
        process.terminate()  # what a container gets when it is stopped
        assert process.wait(30) == 0
    assert run(*probe, cwd=place, check=False, PORT=str(port)).returncode != 0


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed")
def test_every_flag_of_the_cloud_commands_exists(place):
    text = BLOCKS["cloud_run.sh"].replace("\\\n", " ")
    commands = re.findall(r"^ *gcloud (.*)$", text, re.MULTILINE)
    assert len(commands) == 4

    for command in commands:
        words = command.split()
        path = [w for w in words[:3] if re.fullmatch(r"[a-z]+", w)][: 3 if words[0] == "artifacts" else 2]
        shown = re.sub(r"\x1b\[[0-9;]*m", "", run("gcloud", *path, "--help", cwd=place).stdout)
        shown += " --project --no-allow-unauthenticated" if "--[no-]allow-unauthenticated" in shown else " --project"
        assert [w for w in words if w.startswith("--") and w not in shown] == [], path
    run("sh", "-n", "cloud_run.sh", cwd=place)


def free_port():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class served:
    """A server process, once it answers anything on its port; killed at the end."""

    def __init__(self, command, cwd, **environment):
        clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        self._start = lambda: subprocess.Popen([str(c) for c in command], cwd=cwd, env={**clean, **environment},
                                               stderr=subprocess.DEVNULL)  # fmt: skip
        self._port = int(environment.get("PORT") or command[-1])

    def __enter__(self):
        self._process, deadline = self._start(), time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self._port}/", timeout=5)
            except urllib.error.HTTPError:
                return self._process
            except OSError:
                assert self._process.poll() is None, "the server has ended"
                time.sleep(0.05)
        raise AssertionError("the server does not answer")

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def ask(url, body, type_, **headers):
    request = urllib.request.Request(url, body, {"Content-Type": type_, **headers})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())
