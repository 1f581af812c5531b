import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from edge_runtime.errors import InputError
from edge_runtime.monitor import Limit, Monitor, MonitorError
from edge_runtime.monitor import monitor as module
from edge_runtime.monitor.counters import Counters
from edge_runtime.monitor.store import MOST_INTERVALS, Store
from edge_runtime.statistics import Statistics


@pytest.fixture
def make(tmp_path, statistics):
    """Monitors that are closed at the end; described examples cost what they cost."""
    made = []

    def new(path=tmp_path / "monitor.sqlite", **settings):
        made.append(Monitor(statistics, path, **{"share": 1.0, "background": False, "interval_s": 3600, **settings}))
        return made[-1]

    yield new
    for monitor in made:
        monitor.close()


def rows(path, table):
    with sqlite3.connect(path) as db:
        return db.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall()


def test_counts_latency_and_classes_end_up_in_the_file(make, stream, tmp_path):
    monitor = make()
    _, logits, _ = stream(monitor, 300, latency_ms=2.0)
    monitor.close()

    (row,) = rows(tmp_path / "monitor.sqlite", "intervals")
    found = Counters.from_json(json.loads(row[4]))
    assert (found.calls, found.examples, found.watched) == (300, 300, 300)
    assert found.busy_s == pytest.approx(0.6)
    assert found.classes == {c: n for c, n in enumerate(np.bincount(logits.argmax(axis=1))) if n}
    assert found.bins.sum(axis=1).tolist() == [300] * len(found.bins)
    assert found.latency.sum() == 300


def test_an_alarm_is_told_though_the_queue_fails(make, stream, monkeypatch):
    alarms = []
    monitor = make(None, on_alarm=alarms.append)
    monkeypatch.setattr(monitor.queue, "consider", lambda *_: 1 / 0)
    stream(monitor, 1000, change=lambda x: x * np.float32(0.5))

    assert alarms
    assert "ZeroDivisionError" in monitor.problem


def test_figures_of_an_unchanged_stream_are_calm_and_of_a_changed_one_are_not(make, stream):
    alarms = []
    monitor = make(None, on_alarm=alarms.append)
    stream(monitor, 1000)
    calm = monitor.figures()
    stream(monitor, 1000, change=lambda x: x * np.float32(0.5))
    moved = monitor.figures()

    assert calm["psi_max"] < 0.1 < moved["psi_max"]
    assert calm["drift_level"] < 1.0
    assert calm["latency_p50_ms"] == pytest.approx(1.0, rel=0.13)
    assert [(a.figure, a.raised) for a in alarms] == [("drift", True)]
    assert alarms[0].cause.split()[1] in ("rises", "falls", "spreads", "narrows")


def test_the_alarm_ends_when_the_stream_is_as_before_and_is_raised_again(make, stream):
    alarms = []
    monitor = make(None, on_alarm=alarms.append)
    for i, change in enumerate(np.float32([1.0, 0.5, 1.0, 0.5])):
        stream(monitor, 700, change=lambda x, k=change: x * k, seed=i)

    assert [a.raised for a in alarms] == [True, False, True]


def test_labels_give_accuracy_precision_and_recall(make, stream):
    monitor = make()
    ids, logits, y = stream(monitor, 500)
    for i, id in enumerate(ids[:200]):
        monitor.label(id, int(y[i]))
    before = monitor.quality()
    monitor.flush()

    right = (logits.argmax(axis=1) == y)[:200].mean()
    assert before["accuracy"] == pytest.approx(right)
    assert before["labelled"] == 200
    assert before["accuracy_low"] < right < before["accuracy_high"]
    assert monitor.quality() == before  # from the file now


def test_a_second_label_replaces_the_first(make, stream):
    monitor = make()
    ids, logits, _ = stream(monitor, 64)
    best = int(logits[0].argmax())
    monitor.label(ids[0], best)
    monitor.flush()
    monitor.label(ids[0], (best + 1) % 10)
    monitor.flush()

    assert monitor.quality()["accuracy"] == 0.0


def test_labels_of_numbers_give_errors_in_their_unit(tmp_path):
    statistics = Statistics.of(np.zeros((0, 1)), None, kind="none")
    with Monitor(statistics, tmp_path / "m.sqlite", background=False) as monitor:
        for predicted, real in ((1.0, 0.0), (2.0, 5.0)):
            monitor.label(monitor.number(predicted), real)

        assert monitor.quality()["rmse"] == pytest.approx(5**0.5)
        assert monitor.figures()["mae"] == 2.0


def test_labels_for_nothing_are_refused(make, stream):
    monitor = make()
    (id,) = stream(monitor, 1)[0]
    with pytest.raises(InputError, match="no prediction 'nonsense'"):
        monitor.label("nonsense", 1)
    with pytest.raises(InputError, match="no class 'cat'"):
        monitor.label(id, "cat")


def test_limits_have_hysteresis(make, stream):
    alarms = []
    monitor = make(None, limits=[Limit("latency_p99_ms", above=10.0, clear=5.0)], on_alarm=alarms.append)
    for latency_ms in (1, 20, 8, 20, 8, 8, 1, 1, 1):
        stream(monitor, 100, latency_ms=latency_ms)
        monitor.flush()

    assert [a.raised for a in alarms if a.figure == "latency_p99_ms"] == [True, False]


def test_a_limit_may_want_several_looks():
    from edge_runtime.monitor.rules import Rule

    rule = Rule(Limit("accuracy", below=0.9, times=3))
    outcomes = [rule.look(v, 0.0) for v in (0.8, 0.8, 0.95, 0.8, 0.8, 0.8, float("nan"), 0.95, 1.0)]

    assert [None if a is None else a.raised for a in outcomes] == [None] * 5 + [True, None, None, False]


@pytest.mark.parametrize("wrong", [{}, {"above": 1, "below": 2}, {"above": 1, "clear": 2}, {"below": 1, "times": 0}])
def test_a_limit_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(InputError, match="limit on accuracy"):
        Limit("accuracy", **wrong)


@pytest.mark.parametrize("wrong", [{"every": 0}, {"share": 2}, {"interval_s": 0}, {"window": 1.5}, {"every": True}])
def test_a_setting_that_makes_no_sense_is_refused(statistics, wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Monitor(statistics, None, **wrong)


def test_a_hook_that_raises_does_not_reach_the_app(make, stream):
    def hook(alarm):
        raise RuntimeError("pager is down")

    monitor = make(None, on_alarm=hook)
    stream(monitor, 600, change=lambda x: x * np.float32(0.5))

    assert "pager is down" in monitor.problem


def test_too_quick_a_model_is_described_less_often(make, stream):
    monitor = make(None, share=0.02)
    stream(monitor, 3000, latency_ms=0.01)

    figures = monitor.figures()
    assert figures["examples"] == 3000
    assert figures["watched_share"] < 0.5


def test_quality_counts_constant_and_far_off_inputs(make, digits):
    monitor = make(None)
    black = np.full_like(digits.x[:64], digits.x.min())
    monitor.seen(black, digits.answer(black), 1000.0)
    glare = digits.x[:64] * 10
    monitor.seen(glare, digits.answer(glare), 1000.0)

    figures = monitor.figures()
    assert figures["quality_constant_share"] == 0.5
    assert figures["quality_out_of_range_share"] == 0.5


def test_refused_inputs_are_counted_by_reason(make):
    monitor = make(None)
    monitor.refused(InputError("example 0 of 1 holds NaN, infinite or too large values", "input", "fix"))
    monitor.refused(InputError("examples of shape (3,)", "input", "fix"))
    monitor.refused(RuntimeError("engine"))
    monitor.flush()

    assert monitor.figures()["refused_share"] == 1.0
    assert monitor._process.before.refused == {"not_finite": 1, "shape": 1, "RuntimeError": 1}


def test_threads_lose_nothing(make, digits):
    monitor = make(None)

    def feed():
        for i in range(1000):
            monitor.seen(digits.x[i : i + 1], digits.logits[i : i + 1], 0.5)

    threads = [threading.Thread(target=feed) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    monitor.flush()

    assert monitor._process.before.calls + monitor._process.before.dropped == 4000
    assert monitor._process.before.latency.sum() == monitor._process.before.calls


def test_a_forked_child_counts_for_itself_in_the_same_file(make, stream, tmp_path):
    monitor = make()
    stream(monitor, 40)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            stream(monitor, 100)
            monitor.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    stream(monitor, 60)
    monitor.close()

    found = {r[1]: json.loads(r[4])["calls"] for r in rows(tmp_path / "monitor.sqlite", "intervals")}
    assert sorted(found.values()) == [100, 100]


def test_the_background_thread_writes_and_ends_with_the_monitor(statistics, stream, tmp_path):
    monitor = Monitor(statistics, tmp_path / "m.sqlite", interval_s=0.05)
    assert not any(t.name == "edge-monitor" for t in threading.enumerate())
    stream(monitor, 10)
    end = time.monotonic() + 10
    while not rows(tmp_path / "m.sqlite", "intervals") and time.monotonic() < end:
        time.sleep(0.02)
    monitor.close()

    assert rows(tmp_path / "m.sqlite", "intervals")
    assert not any(t.name == "edge-monitor" for t in threading.enumerate())


def test_two_processes_write_to_one_file(make, stream, tmp_path):
    a, b = make(), make()
    for i in range(5):
        stream(a, 10, seed=i)
        stream(b, 20, seed=i)
        assert a.flush()
        assert b.flush()

    found = [json.loads(r[4])["calls"] for r in rows(tmp_path / "monitor.sqlite", "intervals")]
    assert sorted(found) == [10] * 5 + [20] * 5


def test_a_file_that_cannot_be_written_degrades_the_monitor_and_not_the_app(make, stream, tmp_path):
    monitor = make()
    stream(monitor, 10)
    monitor.flush()
    other = sqlite3.connect(tmp_path / "monitor.sqlite", isolation_level=None)
    monitor._store._db.execute("PRAGMA busy_timeout=50")
    other.execute("BEGIN IMMEDIATE")
    stream(monitor, 20)

    assert not monitor.flush()
    assert "locked" in monitor.problem
    other.execute("ROLLBACK")
    other.close()
    stream(monitor, 30)
    assert monitor.flush()
    assert monitor.problem == ""
    found = [json.loads(r[4])["calls"] for r in rows(tmp_path / "monitor.sqlite", "intervals")]
    assert found == [10, 50]


def test_a_full_disk_is_survived(make, stream, tmp_path):
    """A real one: SQLite's own limit on the number of pages raises the error that a full disk does."""
    monitor = make()
    stream(monitor, 100)
    monitor.flush()
    pages = monitor._store._db.execute("PRAGMA page_count").fetchone()[0]
    monitor._store._db.execute(f"PRAGMA max_page_count={pages}")
    ids, *_ = stream(monitor, 2000)

    assert not monitor.flush()
    assert "full" in monitor.problem
    monitor._store._db.execute("PRAGMA max_page_count=1000000")
    assert monitor.flush()
    assert sum(json.loads(r[4])["calls"] for r in rows(tmp_path / "monitor.sqlite", "intervals")) == 2100
    assert len(ids) == 2000


def test_the_clock_may_jump_back(make, stream, tmp_path, monkeypatch):
    monitor = make()
    stream(monitor, 10)
    monitor.flush()
    real = time.time
    monkeypatch.setattr(module.time, "time", lambda: real() - 86400)
    stream(monitor, 10)
    monitor.flush()
    monkeypatch.undo()

    durations = [r[3] for r in rows(tmp_path / "monitor.sqlite", "intervals")]
    assert all(d >= 0 for d in durations)
    assert any("set back by 86400 s" in r[7] for r in rows(tmp_path / "monitor.sqlite", "alarms"))


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to be one" * 50, b"SQLite format 3\0" + b"\0" * 84]
)
def test_a_file_of_another_kind_is_refused_and_left_alone(statistics, tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)

    with pytest.raises(MonitorError, match=r"cannot be used|something else"):
        Monitor(statistics, path)
    assert path.read_bytes() == content


def test_another_programs_database_is_refused(statistics, tmp_path):
    with sqlite3.connect(tmp_path / "theirs.sqlite") as db:
        db.execute("CREATE TABLE customers (id)")

    with pytest.raises(MonitorError, match="SQLite file of something else"):
        Monitor(statistics, tmp_path / "theirs.sqlite")


def test_a_newer_file_is_refused(make, statistics, tmp_path):
    make().close()
    with sqlite3.connect(tmp_path / "monitor.sqlite") as db:
        db.execute("UPDATE meta SET value = '2' WHERE key = 'format_version'")

    with pytest.raises(MonitorError, match="version 2"):
        Monitor(statistics, tmp_path / "monitor.sqlite")


def test_old_intervals_are_merged_so_that_the_file_stays_bounded(statistics, tmp_path):
    store = Store(tmp_path / "m.sqlite")
    counters = Counters.like(statistics)
    counters.calls = 1
    with store.transaction() as db:
        body = json.dumps(counters.to_json())
        db.executemany(
            "INSERT INTO intervals (source, start_s, duration_s, data) VALUES (?, ?, ?, ?)",
            [(f"p{i % 2}", float(i), 1.0, body) for i in range(MOST_INTERVALS)],
        )
    store.write("p0", (float(MOST_INTERVALS), 1.0, counters), [], {}, [])
    store.close()

    found = rows(tmp_path / "m.sqlite", "intervals")
    assert len(found) == MOST_INTERVALS * 3 // 4 + 1
    assert sum(json.loads(r[4])["calls"] for r in found) == MOST_INTERVALS + 1
    assert sum(r[3] for r in found) == MOST_INTERVALS + 1


def test_a_kill_at_any_moment_leaves_a_whole_file(statistics, tmp_path):
    (tmp_path / "statistics.json").write_bytes(statistics.to_bytes())
    path = tmp_path / "m.sqlite"
    code = """
        import sys, numpy as np
        from pathlib import Path
        from edge_runtime.monitor import Monitor
        from edge_runtime.statistics import Statistics
        here = Path(sys.argv[1])
        monitor = Monitor(Statistics.from_bytes((here / "statistics.json").read_bytes()), here / "m.sqlite",
                          interval_s=0.05, share=1.0)
        x, logits = np.random.default_rng(0).normal(size=(64, 1, 8, 8)).astype("f4"), np.eye(64, 10, dtype="f4")
        while True:
            monitor.seen(x, logits, 1.0)
            monitor.flush()
            print("on", flush=True)
    """
    generator = np.random.default_rng(0)
    last = 0
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(generator.uniform(0.0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with sqlite3.connect(path) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            found = [json.loads(r[0])["calls"] for r in db.execute("SELECT data FROM intervals")]
        assert len(found) >= last
        last = len(found)
    assert last > 0


def test_a_fork_while_the_file_cannot_be_opened_goes_on(make, stream, tmp_path):
    monitor = make()
    stream(monitor, 40)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            (tmp_path / "monitor.sqlite").rename(tmp_path / "gone.sqlite")
            (tmp_path / "monitor.sqlite").mkdir()
            ids, *_ = stream(monitor, 100)
            code = 0 if len(ids) == 100 and not monitor.flush() and "cannot be used" in monitor.problem else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def test_a_disk_that_is_full_at_the_start_is_no_reason_to_fail(statistics, tmp_path):
    """A limit on the size of files, as a full disk or a quota, from the first byte on; then there is room."""
    (tmp_path / "statistics.json").write_bytes(statistics.to_bytes())
    code = """
        import resource, sys, numpy as np
        from pathlib import Path
        from edge_runtime.monitor import Monitor
        from edge_runtime.statistics import Statistics
        here = Path(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, resource.RLIM_INFINITY))
        monitor = Monitor(Statistics.from_bytes((here / "statistics.json").read_bytes()), here / "m.sqlite",
                          background=False, share=1.0)
        ids = monitor.seen(np.ones((64, 1, 8, 8), "f4"), np.eye(64, 10, dtype="f4"), 1000.0)
        print(len(ids), monitor.flush(), bool(monitor.problem))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(monitor.flush(), repr(monitor.problem))
        monitor.close()
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["64", "False", "True", "True", "''"], done.stdout
    assert sum(json.loads(r[4])["examples"] for r in rows(tmp_path / "m.sqlite", "intervals")) == 64
