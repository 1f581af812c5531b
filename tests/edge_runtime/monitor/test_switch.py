"""A monitor beside a store: each version is held against the reference that came with it."""

import dataclasses

import edge_runtime
import numpy as np
import pytest
from edge_runtime.files import file_info
from edge_runtime.manifest import read_manifest, write_manifest
from edge_runtime.monitor import Monitor
from edge_runtime.monitor.history import read_history
from edge_runtime.statistics import Statistics
from edge_runtime.store import Limits, Store

from tests.edge_runtime.engines_here import FORM

RANGES = {"dark": (0, 120), "bright": (120, 256)}  # pixels of what a version was trained on


def images(light, n, seed=0):
    return np.random.default_rng([seed, len(light)]).integers(*RANGES[light], (n, 4, 5), np.uint8)


@pytest.fixture
def place(make_bundle, tmp_path):
    """A store, its two versions by name, and the statistics of each."""
    store, versions, references = Store.create(tmp_path / "store"), {}, {}
    for light in RANGES:
        folder = make_bundle(FORM, name=light, tolerance=0.2 + 0.1 * len(light))
        manifest = read_manifest(folder)
        with edge_runtime.load(folder) as model:
            x = images(light, 2000)
            references[light] = Statistics.of(manifest.preprocessing(x), model.logits(x), kind="image")
        data = references[light].to_bytes()
        (folder / "statistics.json").write_bytes(data)
        files = {**manifest.files, "statistics.json": file_info(data)}
        write_manifest(folder, dataclasses.replace(manifest, files=files, reference_statistics="statistics.json"))
        versions[light] = store.update(folder, limits=Limits(calls=0)).version
    return store, versions, references


def test_the_reference_is_that_of_the_version_that_runs(place, tmp_path, monkeypatch):
    monkeypatch.setattr("edge_runtime.monitor.process.Process._adapt", lambda *_: None)  # describe each example
    store, versions, references = place
    store.rollback(versions["dark"])
    alarms = []
    monitor = Monitor(store.path(versions["dark"]), tmp_path / "m.sqlite", share=1.0, on_alarm=alarms.append)
    with monitor, store.open(monitor=monitor, refresh_s=None) as model:
        model.predict_batch(images("dark", 300, 1))
        assert monitor.reference.statistics == references["dark"]

        store.rollback(versions["bright"])
        model.refresh()
        model.predict_batch(images("bright", 1000, 2))
        assert monitor.reference.statistics == references["bright"]
        assert alarms == []
        model.predict_batch(images("dark", 300, 3))
        assert [a.figure for a in alarms if a.raised] == ["drift"]

        store.rollback(versions["dark"])
        model.refresh()
        model.predict_batch(images("dark", 300, 4))
        assert [(a.figure, a.raised) for a in alarms] == [("drift", True), ("drift", False)]
        assert monitor.snapshot()["totals"]["calls"] == 4

    history = read_history(tmp_path / "m.sqlite")
    assert history.reference.statistics == references["dark"]
    total = history.total()
    assert (total.calls, total.examples, total.watched) == (4, 1900, 1900)
    assert total.bins[0].sum() == total.confidence.sum() == 600  # the bright version's bins are others
    assert len({i.counters.reference for i in history.intervals}) == 2


def test_a_monitor_that_was_given_statistics_keeps_them(place):
    store, _, references = place
    with Monitor(references["dark"], background=False) as monitor:
        store.open(monitor=monitor).close()
        assert monitor.reference.statistics == references["dark"]
        assert monitor.reference.labels == ("cat", "dog", "owl")


def test_a_late_call_of_the_version_before_costs_no_answer(statistics):
    with Monitor(statistics, share=1.0, background=False) as monitor:
        logits = np.zeros((1, 10), np.float32)
        monitor.seen(np.zeros((1, 1, 9, 7), np.float32), np.zeros((1, 4), np.float32), 1.0)
        for _ in range(70):
            monitor.seen(np.zeros((1, 1, 8, 8), np.float32), logits, 1.0)
        assert monitor.snapshot()["totals"]["examples"] == 71
        assert monitor.problem == ""


def test_what_cannot_be_described_costs_no_answer_and_is_told(statistics, monkeypatch):
    with Monitor(statistics, share=1.0, background=False) as monitor:
        monkeypatch.setattr(monitor._process.watcher, "take", lambda *_: 1 / 0)
        ids = monitor.seen(np.zeros((64, 1, 8, 8), np.float32), np.zeros((64, 10), np.float32), 1.0)

        assert len(ids) == 64
        assert monitor.problem == "some examples could not be described: ZeroDivisionError: division by zero"
