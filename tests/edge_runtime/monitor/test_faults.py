"""What a device does to a monitor's file: a disk that fills up in the middle, a power cut, months of large images."""

import json
import os
import sqlite3

import numpy as np
import pytest
from edge_runtime.monitor import Monitor
from edge_runtime.monitor.counters import Counters
from edge_runtime.monitor.history import History, Interval
from edge_runtime.monitor.reference import Reference
from edge_runtime.queue.export import export_queue

from tests.edge_runtime.monitor.test_monitor import rows


@pytest.fixture
def make(tmp_path, statistics, digits):
    """A monitor that keeps raw inputs and writes when told to."""
    made = []

    def new(**settings):
        monitor = Monitor(statistics, tmp_path / "m.sqlite", keep="raw", background=False, interval_s=3600, share=1.0,
                          **settings)  # fmt: skip
        monitor.reference = Reference("digits", tuple(map(str, range(10))), statistics, digits.preprocessing)
        made.append(monitor)
        return monitor

    yield new
    for monitor in made:
        monitor.close()


@pytest.mark.parametrize("part", ["queue", "facts"])
def test_nothing_is_counted_twice_where_only_a_part_can_be_written(make, stream, tmp_path, monkeypatch, part):
    """Payloads are what fills a disk: the counts before them are on it already."""
    alarms = []
    monitor = make(on_alarm=alarms.append)
    monitor.flush()
    store = monitor._store

    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(*((monitor.queue, "store") if part == "queue" else (store, "describe")), full)
    for i in range(4):
        stream(monitor, 100, seed=i, change=lambda x: x * np.float32(0.5))
        assert not monitor.flush()
        assert "full" in monitor.problem
    monkeypatch.undo()
    stream(monitor, 100, seed=9, change=lambda x: x * np.float32(0.5))
    assert monitor.flush()

    found = [json.loads(r[4])["calls"] for r in rows(tmp_path / "m.sqlite", "intervals")]
    assert sum(found) == 500
    assert len(rows(tmp_path / "m.sqlite", "alarms")) == len(alarms) == 1


def test_a_queue_that_is_full_in_bytes_keeps_memory_and_work_bounded(make, digits, tmp_path):
    """Few large images fill it long before it holds `most` of them; a camera goes on for months."""
    monitor = make(keep_items=200, keep_bytes=2000)
    rng = np.random.default_rng(0)
    considered = []
    for _ in range(60):
        x = digits.preprocessing(rng.integers(0, 17, (64, 8, 8)).astype(np.uint8))
        monitor.seen(x, digits.answer(x), 1000.0)
        monitor._fold(wait=True)
        considered.append(len(monitor.queue._items))
        monitor.flush()

    assert len(monitor.queue._digests) < 200
    assert considered[0] == 64
    assert np.mean(considered[-20:]) < 10
    kept = rows(tmp_path / "m.sqlite", "queue")
    assert 5 <= len(kept) <= 12


def test_an_export_is_on_the_disk_before_its_items_leave_the_file(make, stream, tmp_path, monkeypatch):
    monitor = make()
    stream(monitor, 50)
    monitor.flush()
    events = []
    real_sync, real_move, real_commit = os.fsync, os.rename, type(monitor._store.transaction()).__exit__

    def fsync(handle):
        events.append(os.readlink(f"/proc/self/fd/{handle}"))
        real_sync(handle)

    def rename(source, target):
        events.append(f"move {target}")
        real_move(source, target)

    def commit(self, *error):
        events.append("commit")
        real_commit(self, *error)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(type(monitor._store.transaction()), "__exit__", commit)
    count = export_queue(monitor._store, tmp_path / "out")
    monkeypatch.undo()

    moved, committed = events.index(f"move {tmp_path / 'out'}"), events.index("commit")
    before = {os.path.basename(e) for e in events[:moved]}
    assert {p.name for p in (tmp_path / "out").rglob("*") if p.is_file()} <= before
    assert "media" in before
    assert str(tmp_path) in events[moved:committed]
    assert count > 0


def test_figures_of_the_last_hour_are_of_what_was_written_last_though_the_clock_was_set_back(statistics):
    """A board without a battery starts in 2031, finds the time server, and goes on in 2026."""
    wrong, right = 1.9e9, 1.79e9

    def interval(start_s, refused):
        counters = Counters.like(statistics)
        counters.calls = counters.examples = 10
        counters.note(counters.refused, "shape", refused)
        return Interval("one", start_s, 10.0, counters)

    before = [interval(wrong + 10 * i, 90) for i in range(3)]
    after = [interval(right + 10 * i, 10) for i in range(3)]
    history = History(Reference(statistics=statistics), (*before, *after), (), (), (), 0)

    found = history.snapshot()["figures"]
    assert found["refused_share"] == pytest.approx(0.5)
    assert history.snapshot()["totals"]["calls"] == 60
