import json
import os
import subprocess
import sys

import numpy as np
import pytest

from compress.benchmark import latency
from compress.benchmark.latency import MachineState, Profile, ask_worker, disturbances, encode, last_lines, measure
from compress.benchmark.ratio import paired_ratio
from compress.errors import MeasureError, UsageError

EXAMPLE = np.arange(16, dtype=np.uint8).reshape(4, 4)
BRIEF = Profile(processes=2, seconds=0.1, warmup_s=0.02, min_runs=20, starts=1)
CALM = MachineState(busy_cores=0.1, throttle_count=7, throttled=None)


@pytest.fixture(scope="module")
def measured(make_bundle):
    """One real measurement of two real bundles in real processes, and the progress it reported."""
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(latency.PROFILES, "brief", BRIEF)
        bundles = {"teacher": make_bundle(layers=40), "student": make_bundle(layers=1)}
        found = measure(bundles, "teacher", EXAMPLE, profile="brief", progress=lambda *step: steps.append(step))
    return found, steps


def test_raw_samples_of_every_process_are_kept_with_the_teachers_beside_them(measured):
    teacher, student = measured[0]["teacher"], measured[0]["student"]

    assert len(student.processes_ms) == len(teacher.processes_ms) == 2
    assert [len(p) for p in student.processes_ms] == [len(p) for p in student.reference_ms]
    assert student.reference_ms == teacher.processes_ms  # with a single pair
    assert all(ms > 0 for process in student.processes_ms for ms in process)
    assert (teacher.ratio, teacher.ratio_ci95, teacher.reference_ms) == (None, None, ())


def test_the_ratio_can_be_had_again_from_the_stored_samples(measured):
    student = measured[0]["student"]

    assert paired_ratio(student.reference_ms, student.processes_ms) == (student.ratio, student.ratio_ci95)


def test_the_conditions_stand_with_the_number(measured):
    student = measured[0]["student"]

    assert (student.device, student.threads, student.batch, student.label) == ("cpu", 1, 1, "measured")
    assert student.engine.startswith("onnxruntime 1.")
    assert student.load_ms > 0
    assert student.first_ms > 0
    assert 10e6 < student.peak_memory_bytes < 1e9  # Python, numpy and the engine, and not the torch of a parent
    assert student.p50_ms > 0
    assert student.p90_ms > 0


def test_progress_reaches_the_end_and_names_what_is_being_timed(measured):
    steps = measured[1]

    assert [done for done, _, _ in steps] == sorted(done for done, _, _ in steps)
    assert steps[-1][0] == pytest.approx(steps[-1][1])
    assert steps[0][2] == "student, process 1 of 2"
    assert steps[-1][2] == "student, start-up and memory"


def test_a_bundle_alone_is_timed_without_a_ratio(make_bundle, monkeypatch):
    monkeypatch.setitem(latency.PROFILES, "brief", Profile(1, 0.05, 0.01, 20, 1))

    found = measure({"only": make_bundle()}, "only", EXAMPLE, profile="brief")

    assert found["only"].ratio is None
    assert len(found["only"].processes_ms) == 1


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_two_threads_rest_between_blocks(make_bundle, monkeypatch):
    monkeypatch.setitem(latency.PROFILES, "brief", Profile(1, 0.05, 0.0, 2, 1))

    found = measure({"a": make_bundle(), "b": make_bundle()}, "a", EXAMPLE, profile="brief", threads=2)

    assert found["b"].threads == 2
    assert len(found["b"].processes_ms[0]) >= 1


def test_the_worker_imports_only_what_an_app_would(make_bundle):
    """numpy, edge_runtime and the engine: no torch, no pydantic, nothing of compress beyond the worker."""
    code = (
        "import sys, compress.benchmark.worker, edge_runtime\n"
        "heavy = {'torch', 'pydantic', 'rich', 'click', 'yaml', 'onnx', 'scipy'}\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & heavy))\n"
        "print(sorted(m for m in sys.modules if m.startswith('compress')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["[]", "['compress', 'compress.benchmark', 'compress.benchmark.worker']"]


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"reference": "tutor"}, UsageError, r"the reference 'tutor' is not among the bundles\n  fix: one of \['a'\]"),
        ({"profile": "slow"}, UsageError, "'slow' is no profile\n  fix: one of smoke, quick, default"),
        ({"device": "pi5"}, UsageError, "device 'pi5' cannot be measured by this version\n  fix: use cpu"),
        ({"threads": 999}, MeasureError, r"999 threads asked for, \d+ cores to run on\n  fix: give 1 to \d+"),
        ({"threads": 0}, MeasureError, "0 threads asked for"),
    ],
)
def test_an_impossible_measurement_is_refused_before_anything_runs(changes, kind, message):
    settings = {"reference": "a", **changes}
    with pytest.raises(kind, match=message):
        measure({"a": "nowhere"}, settings.pop("reference"), EXAMPLE, **settings)


def test_a_damaged_bundle_is_refused_in_edge_runtimes_own_words(make_bundle):
    folder = make_bundle()
    (folder / "model.onnx").write_bytes(b"not what the manifest promised")

    with pytest.raises(MeasureError) as caught:
        measure({"teacher": folder}, "teacher", EXAMPLE)

    assert caught.value.where == "benchmark of teacher"
    assert "model.onnx" in caught.value.what
    assert "copy the bundle again" in caught.value.fix


def test_an_example_of_the_wrong_shape_is_refused_in_words(make_bundle):
    with pytest.raises(MeasureError, match=r"examples of shape \(7,\)|an array of shape \(7,\)"):
        measure({"teacher": make_bundle()}, "teacher", np.zeros(7, np.uint8))


def test_a_worker_that_dies_tells_its_last_words():
    job = {"kind": "nonsense", "bundles": [["a", "x"]], "example": encode(EXAMPLE), "threads": 1, "cores": []}

    with pytest.raises(MeasureError) as caught:
        ask_worker(job, limit_s=30)

    assert caught.value.what.startswith("the benchmark process ended with code 1; it said last:\n    ")
    assert caught.value.what.endswith("KeyError: 'nonsense'")
    assert "compress doctor" in caught.value.fix


def test_a_worker_that_hangs_is_ended():
    job = {"kind": "start", "bundles": [["a", "x"]], "example": encode(EXAMPLE), "threads": 1, "cores": []}

    with pytest.raises(MeasureError, match="the benchmark process gave no answer in 0 s"):
        ask_worker(job, limit_s=0.01)


def test_a_file_in_the_users_folder_does_not_get_into_the_worker(make_bundle, tmp_path, monkeypatch):
    (tmp_path / "random.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(latency.PROFILES, "brief", Profile(1, 0.01, 0.0, 1, 1))

    assert measure({"a": make_bundle()}, "a", EXAMPLE, profile="brief")["a"].p50_ms > 0


def test_what_an_engine_prints_does_not_spoil_the_answer(tmp_path):
    (tmp_path / "noisy.py").write_text(
        "import os, sys\nfrom compress.benchmark import worker\n"
        "def loud(job, example):\n    os.write(1, b'hello from C'); print('hello'); return {'a': {}}\n"
        "worker.start_model = loud\nworker.main()\n"
    )
    job = {"kind": "start", "bundles": [["a", "x"]], "example": encode(EXAMPLE), "threads": 1, "cores": []}

    done = subprocess.run(
        [sys.executable, str(tmp_path / "noisy.py")], input=json.dumps(job), capture_output=True, text=True, check=True
    )

    assert json.loads(done.stdout) == {"models": {"a": {}}}
    assert "hello from C" in done.stderr


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (CALM, CALM, []),
        (
            MachineState(1.2, None, None),
            CALM,
            ["other work took 1.2 of 2 cores before the measurement began; stop it"],
        ),
        (CALM, MachineState(0.6, 7, None), ["other work took 0.6 of 2 cores at its end; stop it"]),
        (CALM, MachineState(0.1, 9, None), ["the CPU was slowed down for heat during the measurement"]),
        (CALM, MachineState(0.1, 7, ["throttled"]), ["the board reports throttled: the timings are void"]),
    ],
    ids=["calm", "busy", "busy-later", "hot", "pi"],
)
def test_a_disturbed_machine_is_told_in_sentences(before, after, says, monkeypatch):
    monkeypatch.setattr(latency, "usable_cores", lambda: (0, 1))

    assert disturbances(before, after, pinned=1, threads=1) == says


def test_scattered_processes_and_few_runs_are_told():
    assert latency.spread_warnings([[1.0, 1.0], [1.05]], [100, 200]) == []
    assert latency.spread_warnings([[1.0], [1.3], [1.1]], [99, 200, 300]) == [
        "process medians differ by 27 %, want 10 % or less: trust the ratio only",
        "only 99 runs in a process, want 100 or more",
    ]


def test_last_words_are_few_and_never_missing_a_line_break():
    assert last_lines(None) == last_lines("") == last_lines("\n\n") == ""
    assert last_lines(b"a\n\nb\n", count=1) == "; it said last:\n    b"
