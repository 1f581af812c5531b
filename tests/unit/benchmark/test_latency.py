import os

import pytest
from edge_runtime.edge_stats import paired_ratio

from compress.benchmark import latency
from compress.benchmark.latency import measure, rows, sample_warnings, sound
from compress.errors import MeasureError, UsageError


@pytest.fixture(scope="module")
def document(make_bundle):
    """One real measurement of two real bundles in real processes."""
    return measure({"teacher": make_bundle(layers=40), "student": make_bundle(layers=1)}, "teacher", profile="smoke")


def test_raw_samples_of_every_process_are_kept_with_the_teachers_beside_them(document):
    found = rows(document, "cpu")
    teacher, student = found["teacher"], found["student"]

    assert list(found) == ["teacher", "student"]
    assert len(student.processes_ms) == len(teacher.processes_ms) == 2
    assert student.reference_ms == teacher.processes_ms  # with a single pair
    assert all(ms > 0 for process in student.processes_ms for ms in process)
    assert (teacher.ratio, teacher.ratio_ci95, teacher.reference_ms) == (None, None, ())
    assert paired_ratio(student.reference_ms, student.processes_ms) == (student.ratio, student.ratio_ci95)


def test_the_conditions_stand_with_the_number(document):
    student = rows(document, "pi5")["student"]

    assert (student.device, student.threads, student.batch, student.label) == ("pi5", 1, 1, "measured")
    assert student.engine.startswith("onnxruntime 1.")
    assert min(student.load_ms, student.first_ms, student.p50_ms, student.p90_ms, student.cpu_ms) > 0
    assert 10e6 < student.peak_memory_bytes < 1e9  # Python, numpy and the engine, and not the torch of a parent
    assert not student.mlperf_tiny


def test_an_emulators_clock_gives_no_rows(document):
    assert rows({**document, "label": "emulated"}, "pi5") == {}


def test_a_void_measurement_gives_no_number():
    events = [{"kind": "throttled", "text": "the board was hot", "void": True},
              {"kind": "clock", "text": "the clock was set", "void": False}]  # fmt: skip

    with pytest.raises(MeasureError, match="measure: the measurement is void: the board was hot\n  fix: run it again"):
        sound({"void": True, "events": events})


def test_what_happened_to_the_machine_stands_with_every_row(document):
    events = [{"kind": "busy", "text": f"other work took {n} % of the timed cores", "void": False} for n in (9, 30)]
    found = rows({**document, "events": events}, "cpu")

    assert found["student"].warnings[-1] == "other work took 30 % of the timed cores; the worst of 2 such events"


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"reference": "tutor"}, UsageError, r"the reference 'tutor' is not among the bundles\n  fix: one of \['a'\]"),
        ({"profile": "slow"}, UsageError, "'slow' is no profile\n  fix: one of smoke, quick, default"),
        ({"threads": 999}, MeasureError, r"999 threads asked for, \d+ cores to run on\n  fix: give 1 to \d+"),
        ({"threads": 0}, MeasureError, "0 threads asked for"),
    ],
)
def test_an_impossible_measurement_is_refused_before_anything_runs(changes, kind, message):
    settings = {"reference": "a", "profile": "smoke", **changes}
    with pytest.raises(kind, match=message):
        measure({"a": "nowhere"}, settings.pop("reference"), **settings)


def test_a_damaged_bundle_is_refused_in_edge_runtimes_own_words(make_bundle):
    folder = make_bundle()
    (folder / "model.onnx").write_bytes(b"not what the manifest promised")

    with pytest.raises(MeasureError) as caught:
        measure({"teacher": folder}, "teacher", profile="smoke")

    assert "model.onnx" in caught.value.where + caught.value.what
    assert "copy the bundle again" in caught.value.fix


def test_scattered_processes_and_few_runs_are_told():
    def model(spread, *runs):
        return {"summary": {"spread": spread}, "processes": [{"runs": n} for n in runs]}

    assert sample_warnings(model(0.05, 100, 200)) == []
    assert sample_warnings(model(0.273, 99, 200, 300)) == [
        "process medians differ by 27 %, want 10 % or less: trust the ratio only",
        "only 99 runs in a process, want 100 or more",
    ]


def test_a_run_waits_for_another_measurement_and_says_for_whom(make_bundle, tmp_path, monkeypatch):
    from edge_runtime.edge_bench import held

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(latency, "PATIENCE_S", 0.6)
    notes = []

    with held("somebody"), pytest.raises(MeasureError, match="another measurement is under way: somebody"):
        measure({"a": make_bundle()}, "a", profile="quick", progress=lambda done, total, note: notes.append(note))

    assert notes[0].startswith(f"waiting for somebody, process {os.getpid()}")
