"""Real bundles measured in real processes, by the protocol and by the command."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import edge_runtime
import pytest
from edge_runtime import edge_bench, edge_protocol
from edge_runtime.edge_bench import BusyError, held, lines, main, subjects_of
from edge_runtime.edge_protocol import (
    Job,
    MeasureError,
    Profile,
    Subject,
    ask_worker,
    check_threads,
    last_lines,
    measure,
)
from edge_runtime.edge_stats import paired_ratio
from edge_runtime.errors import EdgeError, EngineError, InputError

from tests.edge_runtime.engines_here import FORM, timed

BRIEF = Profile(processes=2, seconds=0.05, warmup_s=0.02, min_runs=20, starts=1, throughput_s=0.02)
PACKAGE = Path(edge_runtime.__file__).parent


def with_ours_first():
    """The environment of a program that imports this edge_runtime."""
    path = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


@pytest.fixture(autouse=True)
def own_lock(tmp_path, monkeypatch):
    """Nobody else's measurement on this machine gets in the way of a test, or a test into its."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


@pytest.fixture(scope="module")
def document(module_bundle):
    steps = []
    subjects = (Subject("onnx", str(module_bundle), "onnx"), Subject("tflite", str(module_bundle), "tflite"))
    found = measure(Job(subjects, (("onnx", "tflite"),), BRIEF), lambda *step: steps.append(step))
    return found, steps


@timed
def test_every_process_of_every_model_is_kept_raw(document):
    models, (pair,) = document[0]["models"], document[0]["pairs"]

    assert [len(m["processes"]) for m in models.values()] == [2, 2]
    assert pair["reference_blocks_ms"] == [p["blocks_ms"] for p in models["onnx"]["processes"]]
    assert pair["blocks_ms"] == [p["blocks_ms"] for p in models["tflite"]["processes"]]
    assert (pair["ratio"], pair["ci95"]) == paired_ratio(pair["reference_blocks_ms"], pair["blocks_ms"])
    assert {p["beside"] for p in models["tflite"]["processes"]} == {"onnx"}


@timed
def test_both_engines_were_timed_under_one_protocol_and_say_who_they_are(document):
    models = document[0]["models"]

    assert models["onnx"]["engine"].startswith("onnxruntime ")
    assert models["tflite"]["engine"].split()[0] in ("ai-edge-litert", "tflite-runtime")
    assert all(m["check"]["ok"] for m in models.values())
    for model in models.values():
        assert min(p["runs"] for p in model["processes"]) >= 20
        assert min(p["timed_s"] for p in model["processes"]) >= 0.05
        assert model["summary"]["p50_ms"] > 0
        assert model["summary"]["cpu_ms"] > 0
        assert model["throughput"]["batch"] == 32
        assert 10e6 < model["starts"][0]["base_memory_bytes"] < model["starts"][0]["peak_memory_bytes"] < 1e9


@timed
def test_the_document_is_json_with_the_machine_beside_the_numbers(document):
    found = json.loads(json.dumps(document[0]))

    assert (found["format"], found["version"], found["label"], found["void"]) == ("edge-bench", 1, "measured", False)
    assert found["host"]["cpu"]
    assert len(found["cores"]) == found["threads"] == 1
    assert len(found["moments"]) == 4  # before and after each of two processes


@timed
def test_progress_reaches_the_end(document):
    done = [d for d, _, _ in document[1]]

    assert done == sorted(done)
    assert document[1][-1][0] == pytest.approx(document[1][-1][1])


def test_an_emulated_cpu_is_asked_for_its_answers_and_never_for_its_speed(bundle):
    found = measure(Job((Subject(FORM, str(bundle), FORM),), profile=BRIEF, emulated=True))

    assert found["label"] == "emulated"
    assert found["models"][FORM]["check"]["ok"]
    assert found["models"][FORM]["processes"] == found["pairs"] == found["moments"] == []
    assert {v for v in found["models"][FORM]["summary"].values() if v} == set()
    assert " ms" not in "\n".join(lines(found))


def test_an_emulator_is_noticed_by_its_environment(bundle, monkeypatch):
    monkeypatch.setenv("QEMU_CPU", os.environ.get("QEMU_CPU", "cortex-a72"))  # an unknown one stops qemu

    assert measure(Job((Subject("a", str(bundle)),), profile=BRIEF))["label"] == "emulated"


@timed
def test_the_command_prints_a_table_and_writes_the_document_whole(bundle, tmp_path, capsys):
    out = tmp_path / "device_result.json"

    assert main([str(bundle), "--profile", "smoke", "--out", str(out), "--engine", "onnx"]) == 0

    said = capsys.readouterr()
    assert "onnx  model.onnx" in said.out
    assert "process medians within" in said.out
    assert "too short for MLPerf Tiny" in said.out
    assert "progress 1.000 onnx, start-up and memory" in said.err
    assert json.loads(out.read_text())["format"] == "edge-bench"
    assert sorted(p.name for p in tmp_path.iterdir() if "part" in p.name) == []


def test_it_runs_as_a_copied_file(bundle, tmp_path):
    copy = tmp_path / "edge_bench.py"
    copy.write_bytes((PACKAGE / "edge_bench.py").read_bytes())
    env = with_ours_first()
    command = [sys.executable, str(copy), str(bundle), "--profile", "smoke", "--engine", "tflite", "--quiet"]

    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert "tflite  model.tflite" in done.stdout


def test_the_same_bundle_twice_is_compared_format_by_format(bundle):
    subjects, pairs = subjects_of(str(bundle), str(bundle), None)

    assert pairs == (("other/onnx", "this/onnx"), ("other/tflite", "this/tflite"))
    assert [s.name for s in subjects] == ["other/onnx", "this/onnx", "other/tflite", "this/tflite"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--threads", "999"], 1, "999 threads asked for, "),
        (["--threads", "0"], 1, "0 threads asked for"),
        (["--cores", "998,999"], 1, "cores 998, 999 are not this process's to use"),
        (["--batch", "0"], 2, "a batch of 0"),
        (["--vs", "/nowhere"], 1, "/nowhere: no such folder"),
        (["--out", "/nowhere/x.json"], 2, "/nowhere/x.json: its folder is not there or cannot be written"),
    ],
)
def test_an_impossible_call_is_refused_before_anything_runs(bundle, capsys, arguments, code, message):
    assert main([str(bundle), *arguments]) == code
    assert message in capsys.readouterr().err


def test_a_format_that_the_bundle_lacks_is_refused(make_bundle, capsys):
    folder = make_bundle("onnx")

    with pytest.raises(InputError, match="the bundle holds no tflite model\n  fix: it holds onnx"):
        subjects_of(str(folder), None, "tflite")
    with pytest.raises(InputError, match="this bundle holds onnx, the other tflite\n  fix: compare bundles that share"):
        subjects_of(str(folder), str(make_bundle("tflite", name="other")), None)


def test_a_damaged_bundle_is_refused_in_edge_runtimes_own_words(bundle):
    (bundle / "model.onnx").write_bytes(b"not what the manifest promised")

    with pytest.raises(EdgeError, match=r"model\.onnx.*\n  fix: copy the bundle again"):
        measure(Job((Subject("a", str(bundle), "onnx"),), profile=BRIEF))


def test_a_model_whose_engine_is_missing_is_left_out_with_a_word(bundle, monkeypatch):
    real = edge_protocol.ask_worker

    def without_onnx(job, limit_s, where):
        if job["subjects"][0]["engine"] == "onnx":
            raise EngineError("no engine is installed", "x", "pip install edge-runtime[onnx]")
        return real(job, limit_s, where)

    monkeypatch.setattr(edge_protocol, "ask_worker", without_onnx)
    subjects = subjects_of(str(bundle), None, None)

    found = measure(Job(*subjects, BRIEF))

    assert list(found["models"]) == ["tflite"]
    assert found["events"][0]["text"] == "onnx is not measured: no engine is installed"
    with pytest.raises(EngineError, match="no engine is installed"):
        measure(Job(subjects[0][:1], profile=BRIEF))


def test_two_measurements_at_once_are_refused_with_who_holds_the_machine(tmp_path):
    told = []
    with held("edge-bench here", folder=str(tmp_path)):
        with pytest.raises(BusyError) as caught, held("me too", folder=str(tmp_path)):
            pass
        with pytest.raises(BusyError), held("me too", 0.6, told.append, folder=str(tmp_path)):
            pass

    assert caught.value.exit_code == 3
    assert f"another measurement is under way: edge-bench here, process {os.getpid()}, user" in caught.value.what
    assert told
    with held("free again", folder=str(tmp_path)):
        pass


def test_a_link_in_the_locks_place_is_refused(tmp_path):
    (tmp_path / "edge-bench.lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(MeasureError, match="the lock cannot be opened"), held("a", folder=str(tmp_path)):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_another_users_lock_is_locked_without_writing_into_it(tmp_path, monkeypatch):
    path, real = tmp_path / "edge-bench.lock", os.open
    path.write_text("theirs\n")

    def refuse(name, flags, *mode):
        if flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied")
        return real(name, flags, *mode)

    monkeypatch.setattr(os, "open", refuse)
    with held("a", folder=str(tmp_path)), pytest.raises(BusyError, match="is under way: theirs"):
        held("b", folder=str(tmp_path)).__enter__()
    assert path.read_text() == "theirs\n"


def test_a_killed_holder_holds_nothing(tmp_path):
    hold = f"with held('a', folder={str(tmp_path)!r}): print('in', flush=True); input()"
    code = f"from edge_runtime.edge_bench import held\n{hold}"
    env = with_ours_first()
    with subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"in\n"
        with pytest.raises(BusyError), held("b", folder=str(tmp_path)):
            pass
        process.kill()
        process.wait()
        with held("b", folder=str(tmp_path)):
            pass


def job(kind):
    return {"kind": kind, "subjects": [{"name": "a", "bundle": "x", "engine": None}], "threads": 1, "cores": []}


def test_a_worker_that_dies_tells_its_last_words():
    with pytest.raises(MeasureError) as caught:
        ask_worker(job("nonsense"), 30, "measurement of a")

    assert caught.value.what.startswith("the process ended with code 1; it said last:\n    ")
    assert caught.value.what.endswith("KeyError: 'nonsense'")


def test_a_worker_that_hangs_is_ended():
    with pytest.raises(MeasureError, match="the process gave no answer in 0 s"):
        ask_worker(job("start"), 0.01, "measurement of a")


@timed
def test_a_file_in_the_users_folder_does_not_get_into_the_worker(bundle, tmp_path, monkeypatch):
    (tmp_path / "random.py").write_text("raise SystemExit('shadowed')")
    (tmp_path / "edge_runtime.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)

    assert measure(Job((Subject("a", str(bundle)),), profile=BRIEF))["models"]["a"]["processes"]


def test_what_an_engine_prints_does_not_spoil_the_answer():
    code = (
        "import os\nfrom edge_runtime import edge_worker\n"
        "edge_worker.JOBS['loud'] = lambda job: os.write(1, b'hello from C') and print('hello') or {'a': {}}\n"
        "edge_worker.main()\n"
    )
    env = with_ours_first()
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(job("loud")), env=env, capture_output=True, text=True, check=True
    )

    assert json.loads(done.stdout)["models"] == {"a": {}}
    assert "hello from C" in done.stderr


def test_the_worker_imports_only_what_an_app_would():
    code = (
        "import sys, edge_runtime.edge_worker, edge_runtime\n"
        "heavy = {'torch', 'pydantic', 'rich', 'click', 'yaml', 'onnx', 'scipy', 'compress', 'subprocess'}\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & heavy))\n"
    )
    env = with_ours_first()
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


@timed
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_two_threads_rest_between_blocks(bundle):
    brief = Profile(processes=1, seconds=0.05, warmup_s=0.0, min_runs=2, starts=0, throughput_s=0.0)
    found = measure(Job((Subject("a", str(bundle), "onnx"),), profile=brief, threads=2))

    assert (found["threads"], len(found["cores"])) == (2, 2)
    assert found["models"]["a"]["processes"][0]["runs"] >= 2


def test_threads_must_fit_the_chosen_cores():
    with pytest.raises(MeasureError, match="2 threads asked for, 1 cores to run on"):
        check_threads(2, [sorted(os.sched_getaffinity(0))[0]])


def test_last_words_are_few_and_never_missing_a_line_break():
    assert last_lines(None) == last_lines("") == last_lines("\n\n") == ""
    assert last_lines(b"a\n\nb\n", count=1) == "; it said last:\n    b"


@timed
def test_a_void_measurement_shows_no_figure_and_fails(document, monkeypatch, bundle, capsys):
    void = {**document[0], "void": True, "events": [{"kind": "throttled", "text": "the board was hot", "void": True}]}
    monkeypatch.setattr(edge_bench, "measure", lambda job, report: void)

    assert main([str(bundle), "--quiet"]) == 1

    said = capsys.readouterr().out
    assert "latency       void" in said
    assert "note: the board was hot" in said
    assert "p50" not in said
    assert "against" not in said


def test_a_measurement_that_is_stopped_leaves_no_process_behind(bundle, tmp_path):
    """`systemctl stop`, `timeout` and a plain kill send SIGTERM: what goes on would disturb whatever comes next."""
    command = [sys.executable, "-m", "edge_runtime.edge_bench", str(bundle), "--engine", FORM]
    with subprocess.Popen(command, env={**with_ours_first(), "TMPDIR": str(tmp_path)}, stderr=subprocess.PIPE) as bench:
        children = Path(f"/proc/{bench.pid}/task/{bench.pid}/children")
        limit = time.monotonic() + 30
        while not (started := children.read_text().split()) and time.monotonic() < limit:
            time.sleep(0.05)
        bench.terminate()
        bench.wait(timeout=20)

    assert started
    assert bench.returncode == 143
    assert not Path(f"/proc/{started[0]}/cmdline").exists()
