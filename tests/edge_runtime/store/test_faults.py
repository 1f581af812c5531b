"""What a device does to a store: its service is stopped, its power cut, its processes fork, and it runs for years."""

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from edge_runtime.errors import StoreError
from edge_runtime.store import Limits
from edge_runtime.store.install import installed_versions
from edge_runtime.store.lock import Lock
from edge_runtime.store.state import Beside, State, parse_state, read_bytes, write_state
from edge_runtime.store.trial import CrashMark, Trial, crashes

from tests.edge_runtime.store.test_deployed import GREY, NO_TRIAL, PYTHON, install, quick_self_test

__all__ = ["quick_self_test"]


def test_a_trial_without_end_takes_neither_more_memory_nor_more_time():
    """A canary runs for weeks."""
    for limit in (None, 1e6):
        trial = Trial(Limits(calls=200, latency_ms=limit))
        for _ in range(20_000):
            trial.answered(1, 2.0)
        start = time.process_time()
        for _ in range(1000):
            assert trial.answered(1, 2.0) == ""
        assert time.process_time() - start < 0.5
        assert len(trial._latencies_ms) <= 1000

    slow = Trial(Limits(calls=200, latency_ms=10.0))
    assert {slow.answered(1, 2.0) for _ in range(5000)} == {None, ""}
    verdicts = [slow.answered(1, 50.0) for _ in range(1000)]
    assert "median latency 50.00 ms" in verdicts[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_a_self_test_that_was_stopped_from_outside_condemns_nothing(store, bundles, monkeypatch, number):
    """`systemctl stop` signals every process of the service; the kernel kills where memory is short for a while."""
    real = subprocess.run
    kill = [PYTHON, "-c", f"import os; os.kill(os.getpid(), {int(number)})"]
    monkeypatch.setattr("edge_runtime.store.selftest.subprocess.run", lambda _, **options: real(kill, **options))

    with pytest.raises(StoreError, match=rf"the self-test was stopped \(signal {int(number)}\)"):
        store.update(bundles("v1"))

    assert store.state().bad == {}


def test_a_power_cut_inside_a_call_is_no_crash(store):
    """The kernel writes the mark to the disk when it likes: on a busy device mostly while it says "inside a call"."""
    marks = store.folder / "marks"
    child = (
        "import os, sys; from pathlib import Path; from edge_runtime.store.trial import CrashMark\n"
        "CrashMark(Path(sys.argv[1]), 'v-0123456789ab').__enter__(); os._exit(9)"
    )
    subprocess.run([PYTHON, "-c", child, str(marks)], check=False)
    assert crashes(marks, "v-0123456789ab") == 1
    (mark,) = marks.iterdir()

    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    content = mark.read_bytes()
    assert boot in content
    mark.write_bytes(content.replace(boot, b"9" * len(boot)))  # as if the machine had started again since

    assert crashes(marks, "v-0123456789ab") == 0
    assert list(marks.iterdir()) == []


def test_a_mark_is_whole_and_locked_before_anybody_can_see_it(store, monkeypatch):
    marks, seen = store.folder / "marks", []
    real = os.open

    def watched(path, *how, **more):
        handle = real(path, *how, **more)
        if Path(path).parent == marks and not seen:
            seen.append(crashes(marks, "v-0123456789ab"))  # another process looks at just this moment
        return handle

    monkeypatch.setattr("edge_runtime.store.trial.os.open", watched)
    mark = CrashMark(marks, "v-0123456789ab")
    monkeypatch.undo()

    assert seen == [0]
    assert len([p for p in marks.iterdir() if p.name.startswith("v-")]) == 1
    mark.close()
    assert list(marks.iterdir()) == []


def test_a_store_damaged_during_a_trial_costs_no_answer(store, bundles):
    (v1,) = install(store, bundles, "v1")
    store.update(bundles("v2"), limits=Limits(calls=3))
    with store.open(refresh_s=None) as handle:
        good = (store.folder / "state.json").read_bytes()
        (store.folder / "state.json").write_bytes(b"\0" * 100)
        labels = [handle.predict(GREY).label for _ in range(5)]
        assert set(labels) == {"cat"}
        assert "damaged" in handle.status()["problem"]
        (store.folder / "state.json").write_bytes(good)
        store.rollback()
        handle.refresh()
        assert (handle.version, handle.status()["problem"]) == (v1, "")


def test_going_back_to_the_version_that_runs_beside_ends_that_run(store, bundles):
    v1, v2 = install(store, bundles, "v1", "v2")
    store.switch(v1, mode="canary", share=0.5)

    store.rollback()

    assert (store.state().current, store.state().beside) == (v1, None)
    write_state(store.folder, State(v2, Limits(), Beside(v1, "shadow", 0.5), (v1,)))
    store.give_up(v2, "too slow")
    assert (store.state().current, store.state().beside) == (v1, None)


def test_years_of_updates_leave_a_state_that_can_be_read(store):
    state = State()
    for i in range(12_000):
        state = State(f"v-{i:012x}", None, None, state.recent).accepted()
    write_state(store.folder, state)

    back = parse_state(read_bytes(store.folder), "state.json")
    assert back.recent[-1] == f"v-{11_999:012x}"
    assert back.way_back([f"v-{11_998:012x}"]) == f"v-{11_998:012x}"


def test_a_reason_that_is_no_text_can_be_kept(store, bundles):
    v1, _ = install(store, bundles, "v1", "v2")

    store.rollback(reason="the camera at \udcff failed")  # of a path that is not UTF-8

    assert store.state().current == v1
    assert "camera" in store.history()[-1]["event"]
    assert json.loads((store.folder / "state.json").read_bytes())["current"] == v1


def test_versions_can_be_listed_while_others_are_deleted(store, bundles, monkeypatch):
    v1, v2 = install(store, bundles, "v1", "v2")
    real = Path.stat

    def vanishing(self, **options):
        if self.name == "manifest.json" and v1 in self.parts:
            raise FileNotFoundError(2, "No such file or directory", str(self))
        return real(self, **options)

    monkeypatch.setattr(Path, "stat", vanishing)
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    listed = {v.version: v for v in store.versions()}
    assert set(listed) == {v1, v2}


def test_a_child_forked_during_a_change_does_not_keep_the_lock(store, tmp_path):
    code = (
        "import os, sys, time; from pathlib import Path; from edge_runtime.store.lock import Lock\n"
        "with Lock(Path(sys.argv[1]), 1.0):\n"
        "    child = os.fork()\n"
        "    if not child: time.sleep(30); os._exit(0)\n"
        "print(child, flush=True)"
    )
    path = store.folder / "state.lock"
    out = tmp_path / "child"
    with out.open("w") as file:
        subprocess.run([PYTHON, "-c", code, str(path)], stdout=file, timeout=20, check=True)
    try:
        with Lock(path, 1.0):
            pass
    finally:
        os.kill(int(out.read_text()), signal.SIGKILL)


def test_file_names_are_quoted_in_addresses(store, make_bundle, site):
    from tests.edge_runtime.engines_here import FORM

    folder = make_bundle(FORM, name="odd")
    text = (folder / "manifest.json").read_text()
    new = f"my model? 100% é#1.{FORM}"
    (folder / f"model.{FORM}").rename(folder / new)
    (folder / "manifest.json").write_text(text.replace(f"model.{FORM}", new))
    from urllib.parse import unquote

    real = site.answer

    def answer(request):
        request.path = unquote(request.path)
        real(request)

    site.answer = answer
    store.update(f"{site.url}/{folder.name}", limits=NO_TRIAL)

    assert len(installed_versions(store.folder)) == 1


def test_a_handle_closed_under_a_slow_call_still_answers_it(store, bundles):
    install(store, bundles, "v1")
    store.update(bundles("v2"), limits=Limits(calls=1, latency_ms=1e-6))
    handle = store.open(refresh_s=None)
    model, real = handle.model, handle.model.predict_batch
    inside, go = threading.Event(), threading.Event()

    def slow(examples):
        inside.set()
        go.wait(10)
        return real(examples)

    model.predict_batch = slow
    answers = []
    thread = threading.Thread(target=lambda: answers.append(handle.predict(GREY)))
    thread.start()
    inside.wait(10)
    handle.close()
    go.set()
    thread.join()

    assert [np.isfinite(a.score) for a in answers] == [True]


def test_a_line_that_a_power_cut_tore_does_not_take_the_next_one_with_it(store, bundles):
    install(store, bundles, "v1", "v2")
    before = len(store.history())
    with (store.folder / "history.jsonl").open("a") as file:
        file.write('{"at": "2026-11-23T10:00:00Z", "curr')

    store.rollback(reason="a reason")

    assert len(store.history()) == before + 1
    assert "a reason" in store.history()[-1]["event"]
