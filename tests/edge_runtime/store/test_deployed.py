"""The handle: it follows switches, tries new versions, and goes back from bad ones without losing a call."""

import asyncio
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from edge_runtime.errors import EngineError, InputError, StoreError
from edge_runtime.store import Limits, Store
from edge_runtime.store.comparison import read_comparisons, read_disagreements

from tests.edge_runtime.engines_here import ENGINE_MODULES, FORM

WHITE, GREY = np.full((4, 5), 255, np.uint8), np.full((4, 5), 100, np.uint8)
NO_TRIAL = Limits(calls=0)


PYTHON = sys.executable


@pytest.fixture(autouse=True)
def quick_self_test(monkeypatch):
    """In this process: test_store.py tests it in one of its own."""
    monkeypatch.setattr(sys, "executable", "/nonexistent")


def install(store, bundles, *names, **options):
    return [store.update(bundles(n), limits=options.pop("limits", NO_TRIAL), **options).version for n in names]


def test_a_handle_predicts_as_its_model_does(store, bundles):
    install(store, bundles, "v1")

    with store.open() as handle:
        one = handle.predict(GREY)
        many = handle.predict_batch(np.stack([GREY, WHITE]))
        later = asyncio.run(handle.apredict(GREY))
        with pytest.raises(InputError, match="input 1"):
            handle.predict_batch([GREY, np.zeros(3)])

    assert one.label == many[0].label == later.label
    assert np.array_equal(one.scores, many[0].scores)
    with pytest.raises(StoreError, match="the handle is closed"):
        handle.predict(GREY)


def test_a_handle_follows_a_switch(store, bundles):
    install(store, bundles, "v2")
    with store.open(refresh_s=None) as handle:
        assert handle.refresh() is False
        (v3,) = install(store, bundles, "v3")
        assert handle.predict(GREY).label == "cat"

        assert handle.refresh() is True
        assert (handle.predict(GREY).label, handle.version) == ("dog", v3)


def test_calls_notice_a_switch_by_themselves(store, bundles):
    install(store, bundles, "v2")
    with store.open(refresh_s=0.0) as handle:
        assert handle.predict(GREY).label == "cat"
        install(store, bundles, "v3")
        assert handle.predict(GREY).label == "dog"


def test_no_call_is_lost_while_threads_predict_and_the_store_switches(store, bundles):
    v2, v3 = install(store, bundles, "v2", "v3")
    wrong, done, versions = [], threading.Event(), set()

    def work(handle):
        while not done.is_set():
            answer = handle.answer([GREY])
            versions.add(answer.version)
            if answer.predictions[0].label != {v2: "cat", v3: "dog"}[answer.version]:
                wrong.append(answer)

    with store.open(refresh_s=0.0) as handle:
        threads = [threading.Thread(target=work, args=(handle,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for version in [v2, v3] * 5:
            store.switch(version, limits=NO_TRIAL)
            time.sleep(0.02)
        done.set()
        for thread in threads:
            thread.join()

    assert (wrong, versions) == ([], {v2, v3})


def test_a_trial_is_passed_after_its_calls(store, bundles):
    install(store, bundles, "v1")
    (v2,) = install(store, bundles, "v2", limits=Limits(calls=5))

    with store.open() as handle:
        for n in range(4):
            handle.predict(GREY)
            assert handle.status()["trial"] == {"calls": n + 1, "of": 5, "errors": 0}
        handle.predict(GREY)
        assert handle.status()["trial"] is None

    assert (store.state().trial, store.state().recent[-1]) == (None, v2)
    assert list((store.folder / "marks").iterdir()) == []


def test_an_input_error_is_not_held_against_the_version(store, bundles):
    install(store, bundles, "v1")
    (v2,) = install(store, bundles, "v2", limits=Limits(calls=5))

    with store.open() as handle:
        for _ in range(3):
            with pytest.raises(InputError):
                handle.predict(np.zeros(3))
        assert handle.version == v2


def test_nan_in_the_trial_rolls_back_and_the_call_is_answered(store, bundles):
    v1, nan = (*install(store, bundles, "v1"), *install(store, bundles, "nan", limits=Limits(calls=50)))

    with store.open() as handle:
        assert handle.answer([GREY]).version == nan
        answer = handle.answer([WHITE])
        assert (answer.version, handle.version) == (v1, v1)
        assert answer.predictions[0].label == handle.predict(WHITE).label

    assert store.state().current == v1
    assert "NaN or infinite" in store.state().bad[nan]
    assert f"automatic rollback from {nan}" in store.history()[-1]["event"]


def test_tolerated_errors_reach_the_caller(store, bundles):
    install(store, bundles, "v1")
    (nan,) = install(store, bundles, "nan", limits=Limits(calls=50, errors=1))

    with store.open() as handle:
        with pytest.raises(EngineError, match="NaN"):
            handle.predict(WHITE)
        assert handle.version == nan
        assert handle.predict(WHITE) is not None
        assert handle.version != nan


def test_after_its_trial_an_error_is_the_callers(store, bundles):
    install(store, bundles, "v1", "nan")

    with store.open() as handle, pytest.raises(EngineError, match="NaN"):
        handle.predict(WHITE)


def test_a_version_that_is_too_slow_is_rolled_back(store, bundles):
    (v1,) = install(store, bundles, "v1")
    (v2,) = install(store, bundles, "v2", limits=Limits(calls=1000, latency_ms=1e-6))

    with store.open() as handle:
        assert {handle.answer([GREY]).version for _ in range(20)} == {v2}
        assert handle.answer([GREY]).version == v1
    assert "the limit is 1e-06 ms" in store.state().bad[v2]


def test_the_first_version_has_no_trial(store, bundles):
    (v1,) = install(store, bundles, "v1", limits=Limits(calls=50))

    assert store.state().trial is None
    assert store.state().recent == (v1,)


def test_a_version_on_trial_that_kills_its_process_is_rolled_back(store, bundles):
    (v1,) = install(store, bundles, "v1")
    (v2,) = install(store, bundles, "v2", limits=Limits(calls=50))
    die = (
        "import os, signal, sys, numpy as np\n"
        "from edge_runtime.model import Model; from edge_runtime.store import Store\n"
        "Model.predict_batch = lambda *_: os.kill(os.getpid(), signal.SIGSEGV)\n"
        "Store(sys.argv[1]).open().predict(np.zeros((4, 5), np.uint8))"
    )
    exit_ = "import sys; from edge_runtime.store import Store; Store(sys.argv[1]).open(); import os; os._exit(9)"

    def run(code):
        subprocess.run([PYTHON, "-c", code, str(store.folder)], check=False)

    run(exit_)
    run(exit_)  # dying outside a call says nothing about the version
    run(die)
    assert store.open().version == v2
    run(die)

    with store.open() as handle:
        assert handle.version == v1
    assert "the process died 2 times inside a call" in store.state().bad[v2]
    assert list((store.folder / "marks").iterdir()) == []


def test_a_version_that_cannot_be_loaded_is_rolled_back_in_its_trial(store, bundles):
    (v1,) = install(store, bundles, "v1")
    (v2,) = install(store, bundles, "v2", limits=Limits(calls=50))
    (store.path(v2) / f"model.{FORM}").write_bytes(b"x")

    with store.open() as handle:
        assert handle.version == v1
    assert "cannot be loaded" in store.state().bad[v2]


def test_a_missing_engine_is_no_fault_of_the_version(store, bundles, monkeypatch):
    install(store, bundles, "v1")
    (v2,) = install(store, bundles, "v2", limits=Limits(calls=50))
    for module in ENGINE_MODULES[FORM]:
        monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(StoreError, match="no engine is installed"):
        store.open()

    assert (store.state().current, store.state().bad) == (v2, {})


def test_a_version_damaged_later_is_replaced_and_reported_but_not_condemned(store, bundles):
    v1, v2 = install(store, bundles, "v1", "v2")
    (store.path(v2) / f"model.{FORM}").write_bytes(b"x")

    with store.open() as handle:
        assert handle.version == v1
        assert f"{v2} is not used: it cannot be loaded" in handle.status()["problem"]
    assert store.state().bad == {}

    (store.path(v1) / f"model.{FORM}").unlink()
    with pytest.raises(StoreError, match=r"no version can be loaded: .*the file is missing"):
        store.open()


def test_what_runs_goes_on_when_a_switch_cannot_be_followed(store, bundles):
    v1, v2 = install(store, bundles, "v1", "v2")
    store.switch(v1, limits=NO_TRIAL)
    (store.path(v2) / f"model.{FORM}").write_bytes(b"x")
    state = (store.folder / "state.json").read_text()

    with store.open(refresh_s=None) as handle:
        (store.folder / "state.json").write_text(state.replace(f'"current": "{v1}"', f'"current": "{v2}"'))
        handle.refresh()
        assert (handle.version, "promises" in handle.status()["problem"]) == (v1, True)
        (store.folder / "state.json").write_text("{")
        handle.refresh()
        assert (handle.version, "damaged" in handle.status()["problem"]) == (v1, True)
        (store.folder / "state.json").write_text(state)
        assert handle.refresh() is True
        assert handle.status()["problem"] == ""


def test_a_store_that_cannot_be_written_rolls_back_in_the_process_alone(store, bundles, monkeypatch):
    (v1,) = install(store, bundles, "v1")
    (nan,) = install(store, bundles, "nan", limits=Limits(calls=50))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge_runtime.store.store.write_state", full)
    with store.open() as handle:
        assert handle.answer([WHITE]).version == v1
        assert "NaN" in handle.status()["problem"]
        assert handle.answer([WHITE]).version == v1
    assert store.state().current == nan


# --- beside the current version ---


def test_a_shadow_answers_nobody_and_its_disagreements_are_recorded(store, bundles):
    (v2,) = install(store, bundles, "v2")
    v3 = store.update(bundles("v3"), mode="shadow", share=0.5, limits=Limits(calls=1000)).version

    with store.open() as handle:
        for _ in range(20):
            assert handle.answer([GREY]).version == v2
            time.sleep(0.002)
        assert handle.status()["beside"] == {"version": v3, "mode": "shadow", "share": 0.5}

    (counts,) = read_comparisons(store.folder)
    assert (counts["current"], counts["beside"], counts["mode"], counts["errors"]) == (v2, v3, "shadow", 0)
    assert counts["examples"] + counts["skipped"] == 10
    assert counts["disagreements"] == counts["examples"] > 0
    assert counts["beside_ms"] > 0
    row = read_disagreements(store.folder)[0]
    assert (row["current_label"], row["beside_label"]) == ("cat", "dog")


def test_a_shadow_that_is_behind_skips_and_costs_the_caller_no_wait(store, bundles, monkeypatch):
    install(store, bundles, "v2")
    store.update(bundles("v3"), mode="shadow", share=1.0)

    with store.open() as handle:
        gate = threading.Event()
        shadow = handle._active.beside.model
        real = shadow.predict_batch
        monkeypatch.setattr(shadow, "predict_batch", lambda x: (gate.wait(20), real(x))[1])
        for _ in range(30):
            handle.predict(GREY)
        gate.set()

    (counts,) = read_comparisons(store.folder)
    assert counts["skipped"] >= 30 - 1 - 8 - 1
    assert counts["skipped"] + counts["examples"] <= 30


def test_a_shadow_keeps_its_own_copy_of_an_example(store, bundles, monkeypatch):
    install(store, bundles, "v1")
    store.update(bundles("v2"), mode="shadow", share=1.0)
    seen, gate = [], threading.Event()

    with store.open() as handle:
        shadow = handle._active.beside.model
        real = shadow.predict_batch
        monkeypatch.setattr(
            shadow, "predict_batch", lambda x: (gate.wait(20), seen.append(int(x[0][0, 0])), real(x))[2]
        )
        frame = GREY.copy()
        handle.predict(frame)
        frame[:] = 7  # the camera's next picture
        gate.set()
        time.sleep(0.05)

    assert seen == [100]


def test_a_canary_answers_its_share(store, bundles):
    (v2,) = install(store, bundles, "v2")
    v3 = store.update(bundles("v3"), mode="canary", share=0.25).version

    with store.open() as handle:
        versions = [handle.answer([GREY]).version for _ in range(40)]

    assert (versions.count(v3), versions.count(v2)) == (10, 30)
    assert read_comparisons(store.folder)[0]["examples"] == 10


def test_a_canary_that_fails_is_ended_and_its_calls_are_answered(store, bundles):
    (v1,) = install(store, bundles, "v1")
    nan = store.update(bundles("nan"), mode="canary", share=1.0).version

    with store.open(refresh_s=0.0) as handle:
        assert handle.answer([GREY]).version == nan
        assert handle.answer([WHITE]).version == v1
        assert handle.answer([GREY]).version == v1
        assert handle.status()["beside"] is None

    assert (store.state().current, store.state().beside) == (v1, None)
    assert "NaN" in store.state().bad[nan]
    assert read_comparisons(store.folder)[0]["errors"] == 1


def test_a_canary_is_promoted_or_stopped(store, bundles):
    v1, v2 = (*install(store, bundles, "v1"), store.update(bundles("v2"), mode="canary", share=0.5).version)
    store.stop_beside()
    assert store.state().beside is None

    store.switch(v2, mode="canary", share=0.5)
    store.switch(v2, limits=NO_TRIAL)

    assert (store.state().current, store.state().beside) == (v2, None)
    for share, version in ((0.0, v1), (1.5, v1), (0.5, v2)):
        with pytest.raises(StoreError):
            store.switch(version, mode="shadow", share=share, force=True)


def test_a_full_disk_under_the_comparison_costs_no_answer(store, bundles):
    install(store, bundles, "v1")
    store.update(bundles("v2"), mode="canary", share=1.0)
    (store.folder / "comparison.sqlite").write_bytes(b"no database " * 100)

    with store.open() as handle:
        handle.predict(GREY)
        handle._active.beside.comparison.flush()
        assert "file is not a database" in handle.status()["problem"]
        assert handle.predict(GREY)


# --- the hook ---


def test_the_hook_sees_every_answer_and_cannot_break_one(store, bundles):
    (v1,) = install(store, bundles, "v1")
    seen = []

    def hook(example, prediction, version):
        seen.append((example.shape, prediction.label, version))
        raise ValueError("a broken monitor")

    with store.open(on_prediction=hook) as handle:
        handle.predict(GREY)
        handle.predict_batch(np.stack([GREY, WHITE]))
        assert handle.status()["hook_errors"] == 3

    assert [s[::2] for s in seen] == [((4, 5), v1)] * 3


def test_two_handles_one_trial(store, bundles):
    (v1,) = install(store, bundles, "v1")
    install(store, bundles, "nan", limits=Limits(calls=50))

    with store.open(refresh_s=0.0) as one, Store(store.folder).open(refresh_s=0.0) as two:
        one.predict(WHITE)
        assert two.answer([WHITE]).version == v1
