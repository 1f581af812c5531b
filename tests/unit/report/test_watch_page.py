"""The page of a monitor's file."""

import json
import sqlite3
from html.parser import HTMLParser

import numpy as np
import pytest
from click.testing import CliRunner
from edge_runtime.monitor import Monitor
from edge_runtime.monitor.reference import Reference
from edge_runtime.monitor.store import Store
from edge_runtime.statistics import Statistics
from test_browser import open_page

from compress.cli import main
from compress.errors import UsageError
from compress.report.charts.timeline import Line, timeline
from compress.report.facts.watched import MOST_POINTS, is_monitor_file, read_watched
from compress.report.pages.watch import render

LABELS = ("cat</script>", "<b>dog</b>", "owl")


@pytest.fixture
def written(tmp_path):
    """A file of calm and changed traffic, labels, refusals, a gap and names that want to be markup."""
    generator = np.random.default_rng(0)
    x, logits = generator.normal(size=(800, 4)).astype(np.float32), generator.normal(size=(800, 3)).astype(np.float32)
    statistics = Statistics.of(x, logits, kind="vector")
    path = tmp_path / "monitor.sqlite"
    with Monitor(statistics, path, background=False, interval_s=3600, share=1.0) as monitor:
        monitor.reference = Reference("<i>field</i>", LABELS, statistics)
        for shift in (0.0, 0.0, 2.0):
            for _ in range(4):
                ids = monitor.seen(x[:200] + np.float32(shift), logits[:200], 1000.0)
                for id in ids[:20]:
                    monitor.label(id, 1)
            monitor.refused(ValueError("<u>x</u>"))
            monitor.flush()
    with sqlite3.connect(path) as db:  # as if an hour had passed in between
        for i, (row,) in enumerate(db.execute("SELECT id FROM intervals ORDER BY id").fetchall()):
            db.execute("UPDATE intervals SET start_s = ?, duration_s = 600 WHERE id = ?", (1.7e9 + 3600 * i, row))
    db.close()
    return path


def test_points_hold_all_that_was_counted(written):
    watched = read_watched(written)

    points = [p for p in watched.points if p is not None]
    assert sum(p.counters.examples for p in points) == 2400
    assert len(points) == 3
    assert None in watched.points  # the hours in between
    assert len(watched.points) <= MOST_POINTS + 1
    assert list(watched.times_s) == sorted(watched.times_s)
    level = [v for v in watched.series(lambda p: p.counters.drift) if v is not None]
    assert level[0] < 1.0 == level[-1]


def test_the_page_says_what_stands_and_never_runs_a_name(written):
    text = render(read_watched(written))

    class Tags(HTMLParser):
        def __init__(self):
            super().__init__()
            self.seen = set()

        def handle_starttag(self, tag, attributes):
            self.seen.add(tag)

    tags = Tags()
    tags.feed(text)
    assert tags.seen.isdisjoint({"script", "b", "i-", "u", "img", "iframe"})
    assert "1 alarm stands: drift" in text
    assert "&lt;b&gt;dog&lt;/b&gt;" in text
    assert text == render(read_watched(written))


def test_the_command_knows_the_file_by_its_content(written, tmp_path):
    done = CliRunner().invoke(main, ["report", str(written)])

    assert done.exit_code == 0, done.output
    assert done.output.strip() == str(written.with_suffix(".html"))
    assert "Monitoring report" in written.with_suffix(".html").read_text()
    assert is_monitor_file(written)
    assert not is_monitor_file(tmp_path)


def test_what_cannot_be_drawn_is_said(tmp_path):
    Store(tmp_path / "empty.sqlite").close()
    with pytest.raises(UsageError, match="nothing has been counted"):
        read_watched(tmp_path / "empty.sqlite")
    with sqlite3.connect(tmp_path / "theirs.sqlite") as db:
        db.execute("CREATE TABLE t (a)")
    db.close()
    done = CliRunner().invoke(main, ["report", str(tmp_path / "theirs.sqlite")])
    assert done.exit_code == 2
    assert "not a monitor's file" in done.output


def test_a_clock_that_jumped_back_draws_forward(written):
    with sqlite3.connect(written) as db:
        db.execute("UPDATE intervals SET start_s = 1000.0 WHERE id = 2")
    db.close()

    watched = read_watched(written)

    assert sum(p.counters.examples for p in watched.points if p) == 2400
    assert list(watched.times_s) == sorted(watched.times_s)
    assert render(watched)


def test_a_numeric_model_shows_its_error(tmp_path):
    statistics = Statistics.of(np.zeros((0, 1)), None, kind="none")
    path = tmp_path / "n.sqlite"
    with Monitor(statistics, path, background=False) as monitor:
        for predicted, real in ((1.0, 0.0), (2.0, 5.0)):
            monitor.label(monitor.number(predicted, 1.0), real)

    text = render(read_watched(path))
    assert "RMSE" in text
    assert "2.24" in text


def test_timelines_break_where_nothing_is_known_and_vanish_where_nothing_ever_was():
    times = (0.0, 60.0, 120.0, 180.0, 240.0)
    drawn = timeline("t", times, [Line("", (1.0, 2.0, None, 3.0, None))], text=str, limit=2.5, alarms_s=(100.0,))

    assert drawn is not None
    path = drawn.partition(' d="')[2].partition('"')[0]
    assert path.count("M") == 2
    assert path.count("L") == 1
    assert timeline("t", times, [Line("", (None,) * 5)], text=str) is None
    assert timeline("t", (5.0,), [Line("", (1.0,))], text=str) is not None


@pytest.mark.slow
def test_the_browser_complains_about_nothing(written, tmp_path):
    console, asked, dom = open_page(render(read_watched(written)), tmp_path)

    assert console == []
    assert asked == []
    assert json.dumps(dom).count("<svg") >= 6
