import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from edge_runtime.edge_meters import Meter
from rich.console import Console

from compress import doctor
from compress.doctor import Finding, diagnose, exit_code, render, to_json

MACHINES = Path(__file__).parents[2] / "machines"
BASE = {"click": "8.5", "numpy": "2.4.6", "edge-runtime": "0.1.0"}
OURS = [
    "click>=8.1",
    "numpy>=2.0",
    "edge-runtime==0.1.0",
    'torch>=2.6; extra == "train"',
    'onnxruntime>=1.20; extra == "onnx"',
    'compress-edge[onnx,train]; extra == "all"',
]


@pytest.fixture
def site(tmp_path):
    """site({name: version}) -> a path with these distributions installed, and compress-edge wanting OURS."""

    def install(packages, ours=OURS, requires=None, python=">=3.11"):
        folder = tmp_path / "site"
        for name, version in packages.items():
            write(folder, name, version, (requires or {}).get(name, []))
        if ours is not None:
            write(folder, "compress-edge", "0.1.0", ours, python)
        return [str(folder)]

    def write(folder, name, version, requires, python=None):
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Python: {python}"] if python else []
        extras = dict.fromkeys(r.split('extra == "')[1].rstrip('"') for r in requires if "extra ==" in r)
        lines += [f"Requires-Dist: {r}" for r in requires] + [f"Provides-Extra: {e}" for e in extras]
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("\n".join(lines) + "\n")

    return install


@pytest.fixture
def machine(tmp_path):
    """machine({path: text}, cpuinfo="haswell") -> a root folder holding these files."""

    def plant(files=(), cpuinfo=None):
        root = tmp_path / "root"
        root.mkdir(exist_ok=True)
        named = {"proc/cpuinfo": (MACHINES / f"{cpuinfo}.cpuinfo").read_text()} if cpuinfo else {}
        for name, text in {**named, **dict(files)}.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        return root

    return plant


def of(findings, topic):
    return [f for f in findings if f.topic == topic]


def only(findings, topic):
    (found,) = of(findings, topic)
    return found


def test_a_complete_base_is_well_and_each_missing_extra_has_the_command_that_installs_it(machine, site):
    findings = diagnose(machine(), site({**BASE, "onnxruntime": "1.32.0"}))

    assert only(findings, "base").text == "compress-edge 0.1.0: click 8.5, numpy 2.4.6, edge-runtime 0.1.0"
    assert only(findings, "extra onnx").status == "ok"
    train = only(findings, "extra train")
    assert (train.status, train.text) == (
        "missing",
        "torch is not installed (training, distillation, fine-tuning, quantization-aware training)",
    )
    assert train.fix.startswith('pip install "compress-edge[train]"   (without a GPU')
    assert of(findings, "extra all") == []  # a sum of the others
    assert exit_code(findings) == 0


def test_a_requirement_of_the_base_with_a_condition_is_not_listed_again_by_every_extra(machine, site):
    ours = [*OURS, 'tomli>=2; python_version >= "3"', 'colorama; python_version < "3"']

    findings = diagnose(machine(), site({**BASE, "onnxruntime": "1.32.0"}, ours))

    assert only(findings, "base").text == "tomli is not installed"
    assert only(findings, "extra onnx").status == "ok"


@pytest.mark.parametrize(
    ("packages", "text"),
    [
        ({**BASE, "numpy": "1.26.4"}, "numpy is 1.26.4, want >=2.0"),
        ({k: v for k, v in BASE.items() if k != "click"}, "click is not installed"),
        ({**BASE, "edge-runtime": "0.2.0"}, "edge-runtime is 0.2.0, want ==0.1.0"),
    ],
)
def test_a_base_that_cannot_work_is_a_problem_and_the_only_thing_that_fails(machine, site, packages, text):
    findings = diagnose(machine(), site(packages))

    base = only(findings, "base")
    assert (base.status, base.text, base.fix) == ("problem", text, "pip install --upgrade compress-edge")
    assert exit_code(findings) == 1


def test_an_old_python_is_a_problem(machine, site):
    findings = diagnose(machine(), site(BASE, python=">=3.99"))

    assert only(findings, "python").fix == "make a virtual environment with Python >=3.99"
    assert exit_code(findings) == 1


def test_a_source_tree_that_was_never_installed(machine, site):
    findings = diagnose(machine(), site(BASE, ours=None))

    assert only(findings, "base").fix == "pip install ./edge_runtime ./edge_runtime/ops ."
    assert exit_code(findings) == 1


@pytest.mark.parametrize(
    ("packages", "requires", "text"),
    [
        ({"onnxruntime": "1.3"}, {"onnxruntime": ["numpy<2"]}, "onnxruntime 1.3 does not fit: numpy is 2.4.6, want <2"),
        ({"tflite-runtime": "2.14.0"}, {}, "tflite-runtime needs numpy below 2, numpy is 2.4.6"),
        ({"onnxruntime": "1.32", "onnxruntime-gpu": "1.32"}, {}, "onnxruntime and onnxruntime-gpu are one module"),
        ({"torch": "2.13.0+cpu", "torchvision": "0.28"}, {}, "torchvision beside the CPU build torch 2.13.0+cpu"),
    ],
)
def test_conflicts_are_named_with_a_way_out_and_do_not_fail(machine, site, packages, requires, text):
    findings = diagnose(machine(), site({**BASE, **packages}, requires=requires))

    conflict = only(findings, "conflict")
    assert conflict.text.startswith(text)
    assert conflict.fix.startswith("pip ")
    assert exit_code(findings) == 0


def test_no_conflicts_are_said_to_be_none(machine, site):
    assert only(diagnose(machine(), site(BASE)), "conflicts").text == "none found"


@pytest.mark.parametrize(
    ("cpuinfo", "architecture", "status", "says"),
    [
        (
            "x86_vnni",
            "x86_64",
            "ok",
            "avx512_vnni and avx_vnni: full 8-bit weights are exact and fast; use target: x86-v",
        ),
        ("x86_haswell", "x86_64", "note", "AVX2 without VNNI: 8-bit weights can saturate"),
        ("pi5", "aarch64", "ok", "ARM dot product: int8 is fast; use target: arm64"),
        ("pi4", "aarch64", "note", "NEON without the dot product instructions"),
        ("pi3_32bit", "armv7l", "note", "32-bit ARM: only tflite-runtime runs here"),
        (None, "riscv64", "note", "no vector instructions known to us on riscv64"),
    ],
)
def test_cpu_features_are_told_as_the_target_to_use(machine, site, monkeypatch, cpuinfo, architecture, status, says):
    monkeypatch.setattr("platform.machine", lambda: architecture)

    found = only(diagnose(machine(cpuinfo=cpuinfo), site(BASE)), "int8")

    assert found.status == status
    assert found.text.startswith(says)


def torch_build(path, cuda):
    (Path(path[0]) / "torch").mkdir()
    text = f"__version__ = '2.13.0'\ncuda: Optional[str] = {cuda!r}\nhip = None\n"
    (Path(path[0]) / "torch/version.py").write_text(text)


def test_a_gpu_with_its_driver_and_a_torch_that_fits(machine, site):
    driver = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024"
    root = machine({"dev/nvidia0": "", "dev/nvidiactl": "", "proc/driver/nvidia/version": driver})
    path = site({**BASE, "torch": "2.13.0"})
    torch_build(path, "12.8")

    assert only(diagnose(root, path), "gpu").text == "1 NVIDIA GPU, driver 550.54.15"


def test_a_cpu_build_of_torch_beside_a_gpu_and_a_cuda_build_without_one(machine, site):
    path = site({**BASE, "torch": "2.13.0"})
    torch_build(path, None)
    with_gpu = of(diagnose(machine({"dev/nvidia0": ""}), path), "gpu")
    (Path(path[0]) / "torch/version.py").write_text("cuda: Optional[str] = '12.8'\n")
    (machine() / "dev/nvidia0").unlink()
    without = of(diagnose(machine(), path), "gpu")

    assert [f.status for f in with_gpu] == ["ok", "warning"]
    assert "is a CPU build: training would leave the GPU idle" in with_gpu[1].text
    assert [f.text for f in without] == [
        "no NVIDIA GPU: training runs on the CPU",
        "torch is a CUDA 12.8 build, but there is no GPU here: several GB for nothing",
    ]


def test_what_stands_against_steady_timings(machine, site):
    files = {
        ".dockerenv": "",
        "proc/loadavg": "64.2 1 1 1/1 1",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave",
    }

    texts = [f.text for f in of(diagnose(machine(files, "x86_vnni"), site(BASE)), "timing")]

    assert texts[0] == "container in a virtual machine: neighbours may disturb timings; trust ratios, not milliseconds"
    assert texts[1] == "governor is powersave: the clock follows the load"
    assert texts[2].startswith("load is 64.2 on ")


def test_the_cache_folder_its_room_and_its_rights(machine, site, tmp_path, monkeypatch):
    root, path = machine(), site(BASE)

    roomy = only(diagnose(root, path, {"COMPRESS_CACHE": str(tmp_path / "deep/cache")}), "cache")
    assert roomy.text.startswith(f"{tmp_path}/deep/cache: ")
    assert roomy.text.endswith(" GB free")
    home = only(diagnose(root, path, {"HOME": str(tmp_path)}), "cache")
    assert home.text.startswith(f"{tmp_path}/.cache/compress: ")
    (tmp_path / "file").write_text("")
    blocked = only(diagnose(root, path, {"XDG_CACHE_HOME": str(tmp_path / "file")}), "cache")
    assert (blocked.status, blocked.text) == ("warning", f"{tmp_path}/file/compress cannot be written")
    assert "--cache DIR" in blocked.fix
    monkeypatch.setattr(doctor, "LOW_DISK_BYTES", 10**18)
    assert only(diagnose(root, path, {"HOME": str(tmp_path)}), "cache").status == "warning"


def test_the_table_shows_every_finding_with_its_fix_and_json_holds_the_same():
    broken = Finding("base", "problem", "click is [bold]gone[/bold]", "pip install click")
    findings = (broken, Finding("cpu", "ok", "fast"))
    out = io.StringIO()

    Console(file=out, width=80).print(render(findings))

    assert "problem  base  click is [bold]gone[/bold]" in out.getvalue()  # not read as markup
    assert "pip install click" in out.getvalue()
    assert json.loads(to_json(findings))[1] == {"topic": "cpu", "status": "ok", "text": "fast", "fix": ""}


def test_this_very_machine_is_well_and_nothing_heavy_is_imported():
    code = (
        "import sys\nfrom compress.doctor import diagnose, exit_code\nf = diagnose()\n"
        "print(exit_code(f), len(f))\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'ai_edge_litert', 'numpy', 'pydantic', 'sklearn'}\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()

    assert first.split()[0] == "0"
    assert int(first.split()[1]) >= 10
    assert second == "[]"


def test_meters_are_listed_and_one_that_may_not_be_read_gets_the_command_that_allows_it(machine, site, monkeypatch):
    meters = (Meter("RAPL", "package-0", "/x/energy_uj", readable=False), Meter("battery", "BAT0", "/y", readable=True))
    monkeypatch.setattr(doctor, "find_meters", lambda root: meters)

    listed, shut = of(diagnose(machine(), site(BASE)), "energy")

    assert (listed.status, listed.text) == ("ok", "battery (BAT0)")
    assert shut.text == "RAPL (package-0) is there, but not readable by you"
    assert shut.fix == "sudo chmod a+r /x/energy_uj"
