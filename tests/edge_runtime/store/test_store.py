"""Install, switch, roll back, prune: the store as one process sees it."""

import dataclasses
import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from edge_runtime.errors import StoreError
from edge_runtime.store import Limits, Store
from edge_runtime.store.durable import write_durable
from edge_runtime.store.lock import Lock
from edge_runtime.store.state import State, parse_state

from tests.edge_runtime.engines_here import FORM

WHITE = np.full((4, 5), 255, np.uint8)
NO_TRIAL = Limits(calls=0)


def names(store):
    return {v.version: v.state for v in store.versions()}


def test_an_update_installs_tests_and_switches(store, bundles):
    first = store.update(bundles("v1"), limits=NO_TRIAL)
    second = store.update(bundles("v2"), limits=NO_TRIAL)

    assert first.version.startswith("tiny-")
    assert (second.previous, second.changed) == (first.version, True)
    assert names(store) == {first.version: "previous", second.version: "current"}
    with store.open() as model:
        assert model.predict(WHITE).label == "cat"
    assert [e["event"] for e in store.history()] == ["switch from None", f"switch from {first.version}"]


def test_the_same_bundle_again_is_no_work(store, bundles, monkeypatch):
    version = store.update(bundles("v1")).version
    monkeypatch.setattr("edge_runtime.store.store.self_test", None)

    again = store.update(bundles("v1"))

    assert (again.version, again.changed) == (version, False)


def test_a_failed_self_test_changes_nothing_and_is_remembered(store, bundles):
    good = store.update(bundles("v1"), limits=NO_TRIAL).version

    with pytest.raises(StoreError, match=rf"not fit for this device: {FORM}: FAILED: .*; {good} still runs"):
        store.update(bundles("wrong"))

    assert store.state().current == good
    (bad,) = store.state().bad
    assert not (store.folder / "versions" / bad).exists()
    with pytest.raises(StoreError, match=rf"{bad} was rejected before \(.*FAILED.*\)\n  fix: .*--force"):
        store.update(bundles("wrong"))
    with pytest.raises(StoreError, match="not fit"):
        store.update(bundles("wrong"), force=True)


def test_an_engine_that_dies_in_the_self_test_dies_alone(store, bundles, monkeypatch):
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    monkeypatch.setattr("edge_runtime.store.selftest.subprocess.run", _instead([sys.executable, "-c", kill]))

    with pytest.raises(StoreError, match=r"the engine died in the self-test \(signal 11\); nothing runs"):
        store.update(bundles("v1"))
    assert len(store.state().bad) == 1


def test_a_slow_self_test_is_not_held_against_the_bundle(store, bundles, monkeypatch):
    monkeypatch.setattr("edge_runtime.store.selftest.subprocess.run", _instead(["sleep", "9"]))

    with pytest.raises(StoreError, match=r"took longer than 0\.05 s"):
        store.update(bundles("v1"), self_test_timeout_s=0.05)
    assert store.state().bad == {}


def test_without_a_python_program_the_self_test_runs_here(store, bundles, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent")

    assert store.update(bundles("v1")).changed
    with pytest.raises(StoreError, match="FAILED"):
        store.update(bundles("wrong"))


def _instead(command):
    real = subprocess.run
    return lambda _, **options: real(command, **options)


def test_rollback_goes_to_what_was_accepted_before(store, bundles):
    v1, v2, v3 = (store.update(bundles(n), limits=NO_TRIAL).version for n in ("v1", "v2", "v3"))

    assert store.rollback().version == v2
    assert store.rollback(reason="too many owls").version == v1
    with pytest.raises(StoreError, match="no version to go back to"):
        store.rollback()
    assert names(store) == {v1: "current", v2: "bad", v3: "bad"}
    assert "too many owls" in store.state().bad[v2]
    assert store.switch(v3, force=True, limits=NO_TRIAL).previous == v1


def test_an_update_during_a_trial_goes_back_to_the_accepted_version(store, bundles):
    v1 = store.update(bundles("v1"), limits=NO_TRIAL).version
    store.update(bundles("v2"), limits=Limits(calls=50))
    v3 = store.update(bundles("v3"), limits=Limits(calls=50)).version

    store.give_up(v3, "test")

    assert store.state().current == v1


def test_old_versions_are_deleted_but_never_the_way_back(store, bundles):
    versions = [store.update(bundles(n), limits=NO_TRIAL, keep=1).version for n in ("v1", "v2", "v3")]

    assert sorted(names(store)) == sorted(versions[1:])
    assert store.rollback().version == versions[1]


def test_a_damaged_version_is_fetched_again(store, bundles):
    version = store.update(bundles("v1"), limits=NO_TRIAL).version
    model = store.path(version) / f"model.{FORM}"
    model.write_bytes(b"x" * model.stat().st_size)

    store.update(bundles("v1"))

    assert model.read_bytes() == (bundles("v1") / f"model.{FORM}").read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the state is damaged: Expecting value"),
        (b"{}", "the state is damaged: format: missing"),
        (b"\xff", "the state is damaged: 'utf-8'"),
        (b'{"format_version": 9}', "format_version 9, this edge_runtime reads up to 1\n  fix: pip install --upgrade"),
        (None, "damaged: beside.share: 2 is not a number from 0 to 1"),
    ],
)
def test_a_damaged_state_is_named_and_mended_by_a_named_rollback(store, bundles, content, message):
    version = store.update(bundles("v1"), limits=NO_TRIAL).version
    path = store.folder / "state.json"
    if content is None:
        doc = json.loads(path.read_text())
        limits = dataclasses.asdict(Limits())
        doc["beside"] = {"version": version, "mode": "shadow", "share": 2, "limits": limits}
        content = json.dumps(doc).encode()
    path.write_bytes(content)

    with pytest.raises(StoreError, match=message):
        store.open()
    if b"9" not in content:
        Store(store.folder).rollback(version)
        assert store.open().version == version


def test_names_that_leave_the_folder_are_no_versions(store):
    for name in ("../x", "/etc", "..", "", "A b", "x" * 200):
        with pytest.raises(StoreError, match="is not installed"):
            store.path(name)
    bad = {"format": "edge-store", "format_version": 1, "current": "../../etc", "trial": None, "beside": None}
    with pytest.raises(StoreError, match="is no version"):
        parse_state(json.dumps({**bad, "recent": [], "bad": {}}).encode(), "state.json")


def test_other_folders_are_not_made_stores(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"")

    with pytest.raises(StoreError, match=r"holds other things \(photo.jpg\)"):
        Store.create(tmp_path)
    with pytest.raises(StoreError, match="no model store"):
        Store(tmp_path)
    with pytest.raises(StoreError, match="the store is empty"):
        Store.create(tmp_path / "new").open()


def test_limits_that_make_no_sense_are_refused():
    for wrong in ({"calls": -1}, {"errors": 1.5}, {"latency_ms": 0.0}, {"crashes": -2}):
        with pytest.raises(StoreError, match=next(iter(wrong))):
            Limits(**wrong)


# --- two processes, full disks, power cuts ---


def test_a_second_update_is_told_who_is_at_it(store, bundles):
    with Lock(store.folder / "install.lock", 0), pytest.raises(StoreError) as caught:
        store.update(bundles("v1"))

    assert f"the store is being changed by process {os.getpid()} (" in str(caught.value)
    assert "--wait SECONDS" in caught.value.fix


def test_a_rollback_does_not_wait_for_a_download(store, bundles):
    v1 = store.update(bundles("v1"), limits=NO_TRIAL).version
    store.update(bundles("v2"), limits=NO_TRIAL)

    with Lock(store.folder / "install.lock", 0):
        assert store.rollback().version == v1


def test_the_lock_of_a_killed_process_is_free(store, bundles):
    hold = (
        "import sys, time; from pathlib import Path; from edge_runtime.store.lock import Lock\n"
        "with Lock(Path(sys.argv[1]), 0): print('held', flush=True); time.sleep(60)"
    )
    lock = store.folder / "install.lock"
    with subprocess.Popen([sys.executable, "-c", hold, str(lock)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreError, match=f"process {holder.pid} "):
            store.update(bundles("v1"))
        holder.kill()

    assert store.update(bundles("v1")).changed


def test_a_full_disk_leaves_what_ran(store, bundles):
    """RLIMIT_FSIZE makes every write past 100 bytes fail, as a full disk does, in a process of its own."""
    v1 = store.update(bundles("v1"), limits=NO_TRIAL).version
    before = (store.folder / "state.json").read_bytes()
    full = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "from edge_runtime.store import Store, StoreError\n"
        "try: getattr(Store(sys.argv[1]), sys.argv[2])(*sys.argv[3:])\n"
        "except StoreError as error: print(error)"
    )

    def attempt(*arguments):
        command = [sys.executable, "-c", full, str(store.folder), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "the bundle cannot be stored: File too large" in attempt("update", bundles("v2"))
    assert list((store.folder / "incoming").iterdir()) == []
    assert "the state cannot be written: File too large" in attempt("give_up", v1, "no way back")
    assert (store.folder / "state.json").read_bytes() == before
    assert Store(store.folder).open().version == v1


def test_too_little_room_is_noticed_before_the_download(store, bundles, monkeypatch):
    facts = os.statvfs(store.folder)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result([*facts[:3], 0, 0, *facts[5:]]))

    with pytest.raises(StoreError, match=r"needs [\d,]+ more bytes, 0 are free"):
        store.update(bundles("v1"))


def test_every_file_is_synced_before_the_name_that_shows_it(store, bundles, monkeypatch):
    """The order of system calls that makes a power cut harmless; a kill cannot show it, for the kernel lives on."""
    events = []
    real = {name: getattr(os, name) for name in ("fsync", "rename", "replace")}

    def fsync(handle):
        events.append(("fsync", os.readlink(f"/proc/self/fd/{handle}")))
        real["fsync"](handle)

    def moved(name):
        def call(source, target):
            events.append(("move", str(source), str(target)))
            real[name](source, target)

        return call

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", moved("rename"))
    monkeypatch.setattr(os, "replace", moved("replace"))

    version = store.update(bundles("v1")).version

    folder, synced = store.folder, [e[1] for e in events if e[0] == "fsync"]
    at = next(i for i, e in enumerate(events) if e[-1] == str(folder / "versions" / version))
    before = [e[1] for e in events[:at] if e[0] == "fsync"]
    for file in store.path(version).iterdir():
        assert any(name.startswith(f"{folder}/incoming/{version}") and file.name in name for name in before), file
    assert str(folder / "incoming" / version) in before
    switched = next(i for i, e in enumerate(events) if e[-1] == str(folder / "state.json"))
    assert ("fsync", str(folder / "versions")) in events[at:switched]
    assert synced.index(str(folder / "versions")) < len(synced) - 1
    assert ("fsync", str(folder)) in events[switched:]


def test_a_write_that_fails_leaves_the_old_content_and_no_litter(tmp_path, monkeypatch):
    write_durable(tmp_path / "f", b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_durable(tmp_path / "f", b"new")

    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"f": b"old"}


def test_bad_versions_do_not_gather_without_bound():
    state = State()
    for i in range(150):
        state = state.marked_bad(f"v{i}", "x")

    assert len(state.bad) == 100
    assert list(state.bad)[-1] == "v149"
