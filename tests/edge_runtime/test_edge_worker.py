import random

import pytest
from edge_runtime.edge_worker import Series, Timing, interleave, memory_bytes, timings


class Machine:
    """A clock that only calls and sleeps move. Block starts are visible because every block begins with one run."""

    def __init__(self):
        self.now_ns, self.log, self.slept = 0, [], 0.0

    def call(self, name, ms, first_ms=None):
        def run():
            cold = not self.log or self.log[-1] != name
            self.now_ns += int((first_ms if cold and first_ms else ms) * 1e6)
            self.log.append(name)

        return run

    def clock(self):
        return self.now_ns

    def sleep(self, seconds):
        self.slept += seconds
        self.now_ns += int(seconds * 1e9)

    def interleave(self, calls, seed=0, **changes):
        settings = {"seconds": 1.0, "warmup_s": 0.1, "block_ms": 20.0, "rest_s": 0.0, "min_runs": 0, "max_seconds": 3.0}
        rng = random.Random(seed)
        return interleave(
            calls, Timing(**{**settings, **changes}), rng, self.clock, lambda: self.now_ns // 2, self.sleep
        )


def test_blocks_last_about_20_ms_and_hold_the_time_of_one_run():
    machine = Machine()

    slow, fast = machine.interleave([machine.call("slow", 4.0), machine.call("fast", 0.5)])

    assert set(slow.blocks_ms) == {4.0}
    assert set(fast.blocks_ms) == {0.5}
    assert len(slow.blocks_ms) == len(fast.blocks_ms)  # block i of one was timed beside block i of the other
    assert len(slow.runs_ns) == 5 * len(slow.blocks_ms)
    assert len(fast.runs_ns) == 40 * len(fast.blocks_ms)


def test_the_first_run_after_the_other_model_is_not_counted():
    machine = Machine()

    slow, fast = machine.interleave([machine.call("a", 1.0, first_ms=9.0), machine.call("b", 1.0, first_ms=5.0)])

    assert set(slow.runs_ns) == set(fast.runs_ns) == {1_000_000}


def test_it_times_for_as_long_as_asked_after_warming_up():
    machine = Machine()

    (only,) = machine.interleave([machine.call("a", 1.0)], seconds=2.0, warmup_s=0.5)

    assert sum(only.runs_ns) / 1e9 == pytest.approx(2.0, rel=0.02)
    assert machine.now_ns / 1e9 == pytest.approx(2.6, abs=0.05)  # one of 21 runs in a block is not counted


def test_a_slow_model_gets_its_runs_and_a_very_slow_one_hits_the_time_limit():
    machine = Machine()
    (slow,) = machine.interleave([machine.call("a", 100.0)], min_runs=15, max_seconds=10.0)
    (very,) = machine.interleave([machine.call("b", 900.0)], min_runs=100, max_seconds=3.0)

    assert len(slow.runs_ns) == 16  # blocks of two
    assert len(very.runs_ns) == 4
    assert len(very.blocks_ms) == 2


def test_even_the_slowest_model_is_timed_once():
    machine = Machine()

    (only,) = machine.interleave([machine.call("a", 60_000.0)], max_seconds=3.0)

    assert only.blocks_ms == [60_000.0]


def test_the_order_of_blocks_is_random_balanced_and_repeatable():
    def order(seed):
        machine = Machine()
        machine.interleave([machine.call("a", 1.0), machine.call("b", 1.0)], seed=seed, seconds=8.0, max_seconds=9.0)
        starts = machine.log[6::21]  # a first round of 1 + 2 runs each to learn the pace, then blocks of 1 + 20 runs
        return "".join(starts)

    first, again, other = order(0), order(0), order(1)
    rounds = [first[i : i + 2] for i in range(0, 300, 2)]

    assert first == again != other
    assert set(rounds) == {"ab", "ba"}
    assert 0.35 < sum(r == "ab" for r in rounds) / len(rounds) < 0.65


def test_a_rest_before_each_block_where_thread_pools_spin():
    machine = Machine()

    (only,) = machine.interleave([machine.call("a", 1.0)], rest_s=0.1)

    assert machine.slept >= 0.1 * len(only.blocks_ms)
    assert set(only.runs_ns) == {1_000_000}  # the rest is not in the timings


def test_cpu_time_is_that_of_the_timed_runs_alone():
    machine = Machine()

    (only,) = machine.interleave([machine.call("a", 1.0)], rest_s=0.1)

    assert only.cpu_ns * 2 == sum(only.runs_ns)  # the fake machine's CPU clock runs at half speed


def test_a_99th_percentile_needs_a_thousand_runs():
    runs = [1_000_000] * 980 + [9_000_000] * 20

    assert timings("an engine", Series([1.0], runs, 5))["p99_ms"] == 9.0
    assert timings("an engine", Series([1.0], runs[1:], 5))["p99_ms"] is None


def test_peak_memory_is_the_processs_own_high_water_mark(tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t 9999 kB\nVmHWM:\t   1234 kB\nVmRSS:\t 1000 kB\n")

    assert memory_bytes("VmHWM", str(status)) == 1234 * 1024
    assert memory_bytes("VmHWM", str(tmp_path / "none")) is None
    assert 5e6 < memory_bytes("VmHWM") < 1e11
