import json
import sqlite3

import numpy as np
import pytest
from edge_runtime import cli
from edge_runtime.monitor import Limit, Monitor, MonitorError
from edge_runtime.monitor.history import read_history
from prometheus_client.parser import text_string_to_metric_families


@pytest.fixture
def written(statistics, stream, tmp_path):
    """A monitor's file after a calm and a changed stream, with labels."""
    path = tmp_path / "monitor.sqlite"
    with Monitor(statistics, path, background=False, interval_s=3600, share=1.0) as monitor:
        stream(monitor, 500)
        monitor.flush()
        ids, _, y = stream(monitor, 500, change=lambda x: x * np.float32(0.5), seed=1)
        for id, label in zip(ids, y, strict=True):
            monitor.label(id, int(label))
        monitor.flush()
        live = monitor.snapshot()
    return path, live


def test_the_file_says_what_the_monitor_said(written):
    path, live = written

    found = read_history(path).snapshot()

    assert found["totals"] == {**live["totals"], "monitor_s": pytest.approx(live["totals"]["monitor_s"], abs=1e-4)}
    assert found["quality"] == live["quality"]
    assert found["standing"] == live["standing"] == ["drift"]
    assert found["figures"]["drift_level"] == 1.0


def test_prometheus_text_is_read_by_its_own_parser(written, capsys):
    path, live = written

    assert cli.main(["watch", str(path), "--prometheus"]) == 3
    text = capsys.readouterr().out
    families = {f.name: f for f in text_string_to_metric_families(text)}

    assert families["edge_calls"].samples[0].value == 1000
    latency = {
        s.labels.get("le"): s.value for s in families["edge_latency_seconds"].samples if s.name.endswith("bucket")
    }
    assert latency["+Inf"] == 1000
    assert list(latency.values()) == sorted(latency.values())
    assert latency["0.001"] == pytest.approx(1000, abs=1000)
    assert {s.labels["feature"] for s in families["edge_psi"].samples} == {r["feature"] for r in live["drift"]}
    assert families["edge_alarm"].samples[0].labels == {"figure": "drift"}
    assert families["edge_accuracy"].samples[0].value == pytest.approx(live["quality"]["accuracy"])
    assert sum(s.value for s in families["edge_predictions"].samples) == live["totals"]["watched"]


def test_a_class_called_anything_keeps_the_text_well_formed(statistics, stream):
    from edge_runtime.monitor.reference import Reference

    names = ('a"b\\c\nd', *map(str, range(1, 10)))
    with Monitor(statistics, None, background=False) as monitor:
        monitor.reference = Reference("n", names, statistics)
        stream(monitor, 300)
        families = {f.name: f for f in text_string_to_metric_families(monitor.prometheus())}

    assert names[0] in {s.labels["class"] for s in families["edge_predictions"].samples}


def test_watch_says_what_matters(written, capsys):
    path, _ = written

    assert cli.main(["watch", str(path)]) == 3
    text = capsys.readouterr().out

    assert "1,000 in all" in text
    assert "drift raised: " in text
    assert "on 500 labels" in text
    assert "waits" not in text.split("queue")[0]
    assert cli.main(["watch", str(path), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["format"] == "edge-monitor-snapshot"


def test_a_calm_file_exits_with_zero(statistics, stream, tmp_path, capsys):
    with Monitor(statistics, tmp_path / "m.sqlite", background=False) as monitor:
        stream(monitor, 300)

    assert cli.main(["watch", str(tmp_path / "m.sqlite")]) == 0
    assert "none stands" in capsys.readouterr().out


def test_standing_limits_are_read_from_the_file(statistics, stream, tmp_path):
    limits = [Limit("latency_p50_ms", above=5.0)]
    with Monitor(statistics, tmp_path / "m.sqlite", background=False, limits=limits) as monitor:
        stream(monitor, 100, latency_ms=20)

    assert read_history(tmp_path / "m.sqlite").snapshot()["standing"] == ["latency_p50_ms"]


def test_a_file_is_read_while_the_monitor_writes(statistics, stream, tmp_path):
    with Monitor(statistics, tmp_path / "m.sqlite", background=False) as monitor:
        stream(monitor, 100)
        monitor.flush()
        assert read_history(tmp_path / "m.sqlite").total().calls == 100
        stream(monitor, 50)
        monitor.flush()
        assert read_history(tmp_path / "m.sqlite").total().calls == 150


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda p: p.unlink(), "no such file"),
        (lambda p: p.write_bytes(b"x" * 5000), "cannot be read"),
        (lambda p: p.write_bytes(p.read_bytes()[:3000]), "cannot be read"),
        (lambda p: sqlite(p, "UPDATE intervals SET data = '{}'"), "cannot be read"),
        (lambda p: sqlite(p, "UPDATE meta SET value = '9' WHERE key = 'format_version'"), "version 9"),
        (lambda p: sqlite(p, "PRAGMA application_id=5"), "not a monitor's file"),
    ],
)
def test_what_is_no_monitor_file_is_said(written, capsys, spoil, says):
    path, _ = written
    for extra in (path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        extra.unlink(missing_ok=True)
    spoil(path)

    with pytest.raises(MonitorError, match=says):
        read_history(path)
    assert cli.main(["watch", str(path)]) == 1
    assert "fix:" in capsys.readouterr().err


def sqlite(path, statement):
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()
