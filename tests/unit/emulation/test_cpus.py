"""Emulated CPUs: names, what an ARM board tells its programs, and apt's own failures."""

import os
import stat

import pytest
from edge_runtime.edge_host import cpu_features, cpu_model

from compress.emulation import apt
from compress.emulation.cpus import CPUS, cpu_named
from compress.emulation.launch import run_python
from compress.emulation.system import write_cpu_files
from compress.errors import CompressError, UsageError


def test_an_unknown_cpu_is_refused_and_max_with_its_reason():
    with pytest.raises(UsageError, match=r"CPU 'cortex-a75' is not offered; did you mean 'cortex-a7\d?'"):
        cpu_named("cortex-a75")
    with pytest.raises(UsageError, match="gives wrong answers for LiteRT's int8 kernels"):
        cpu_named("max")
    assert cpu_named(" Haswell ").model == "Haswell"
    assert not any(cpu.model == "max" for cpu in CPUS.values())


@pytest.mark.parametrize(
    ("name", "model", "has"),
    [
        ("cortex-a53", "4 x Cortex-A53", {"neon"}),
        ("cortex-a72", "4 x Cortex-A72", {"neon"}),
        ("cortex-a76", "4 x Cortex-A76", {"neon", "dotprod", "fp16"}),
        ("cortex-a7", "4 x Cortex-A7", {"neon"}),
    ],
)
def test_a_board_describes_its_cpu_as_our_own_reader_reads_it(tmp_path, name, model, has):
    write_cpu_files(CPUS[name], tmp_path)

    assert (cpu_model(tmp_path), cpu_features(tmp_path)) == (model, has)


def fake_apt(folder, script):
    tool = folder / "apt-get"
    tool.write_text("#!/bin/sh\n" + script)
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    return f"{folder}:{os.environ['PATH']}"


def test_a_mirror_being_renewed_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(apt, "PAUSE_S", 0.0)
    count = tmp_path / "count"
    script = (
        f'echo x >> {count}; [ $(wc -l < {count}) -ge 3 ] || {{ echo "E: Mirror sync in progress?" >&2; exit 100; }}'
    )
    monkeypatch.setenv("PATH", fake_apt(tmp_path, script))

    apt._apt(["update"], tmp_path)

    assert count.read_text() == "x\n" * 3


def test_a_failure_of_apt_is_told_in_its_words_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", fake_apt(tmp_path, 'echo "E: Unable to locate package nonsense" >&2; exit 100'))

    with pytest.raises(CompressError, match="apt-get failed: E: Unable to locate package nonsense"):
        apt.fetch_packages(["nonsense"], tmp_path / "system", architecture="arm64")
    assert [p.name for p in tmp_path.iterdir()] == ["apt-get"]


def test_without_apt_the_text_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(CompressError, match="there is no apt-get here\n  fix: use Debian or Ubuntu"):
        apt.fetch_packages(["qemu-user-static"], tmp_path / "qemu")


def test_a_script_that_fails_or_hangs_is_told_with_its_last_words():
    with pytest.raises(CompressError, match=r"exit code 3: (?s:.*)last words"):
        run_python(None, ["-c", "import sys; print('last words', file=sys.stderr); sys.exit(3)"])
    with pytest.raises(CompressError, match="signal 9"):
        run_python(None, ["-c", "import os; os.kill(os.getpid(), 9)"])
    with pytest.raises(CompressError, match=r"no answer within 0\.5 s"):
        run_python(None, ["-c", "import time; time.sleep(60)"], timeout_s=0.5)
