"""Meters on planted sysfs trees, on a pseudo terminal and on growing files."""

import os
import pty
import time

import pytest
from edge_runtime import edge_energy, edge_protocol
from edge_runtime.edge_energy import Sampler, account, joules, resting, with_and_without
from edge_runtime.edge_logs import columns, open_log
from edge_runtime.edge_meters import Counter, MeterError, Source, battery_watts, open_meter, pmic_watts, why_none
from edge_runtime.edge_protocol import Job, Profile, Subject, measure

from tests.edge_runtime.engines_here import FORM, timed

RAPL = "powercap/intel-rapl:0"
PMIC = """ 3V7_WL_SW_A current(0)=0.10000000A
  VDD_CORE_A current(7)=2.00000000A
 3V7_WL_SW_V volt(8)=3.70000000V
  VDD_CORE_V volt(15)=0.80000000V
     EXT5V_V volt(24)=5.10000000V
      BATT_V volt(25)=0.00000000V
"""


def plant(root, files):
    """Write files below root/sys/class, as the kernel would; a dict plants a folder: nobody can read it as a file."""
    for name, text in files.items():
        path = root / "sys/class" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, dict):
            path.mkdir()
        else:
            path.write_text(f"{text}\n")


def watts(source):
    return source.poll()[-1][1]


def test_rapl_packages_are_added_up_and_their_parts_are_not(tmp_path):
    for zone, name in (("0", "package-0"), ("1", "package-1"), ("0:0", "core")):
        plant(tmp_path, {f"powercap/intel-rapl:{zone}/name": name, f"powercap/intel-rapl:{zone}/energy_uj": 5_000_000})

    source = open_meter("auto", tmp_path)

    assert (source.kind, source.scope, source.quantity) == ("RAPL", "package-0 + package-1", "J")
    assert watts(source) == 10.0


def test_the_whole_platform_is_preferred_to_its_packages(tmp_path):
    for zone, name, uj in (("0", "package-0", 1_000_000), ("1", "psys", 7_000_000)):
        plant(tmp_path, {f"powercap/intel-rapl:{zone}/name": name, f"powercap/intel-rapl:{zone}/energy_uj": uj})

    assert (open_meter("rapl", tmp_path).scope, watts(open_meter("rapl", tmp_path))) == ("psys", 7.0)


def test_a_counter_that_wraps_goes_on_counting(tmp_path):
    plant(tmp_path, {f"{RAPL}/energy_uj": 262_143_000_000, f"{RAPL}/max_energy_range_uj": 262_143_328_850})
    path = tmp_path / "sys/class" / RAPL / "energy_uj"
    counter = Counter(path)
    before = counter.joules()

    path.write_text("1671150\n")
    first = counter.joules()
    path.write_text("1671149\n")  # a whole turn less one microjoule later
    second = counter.joules()

    assert first - before == pytest.approx(2.0)
    assert second - first == pytest.approx(262_143.32885 - 1e-6)


def test_a_counter_that_falls_without_a_range_is_refused(tmp_path):
    path = tmp_path / "energy1_input"
    path.write_text("1000")
    counter = Counter(path)
    path.write_text("999")

    with pytest.raises(MeterError, match="the counter went backwards"):
        counter.joules()


def test_a_meter_without_permission_is_passed_over_by_auto_and_named_when_wanted(tmp_path):
    plant(tmp_path, {f"{RAPL}/name": "package-0", f"{RAPL}/energy_uj": {}})

    assert open_meter("auto", tmp_path) is None
    assert why_none(tmp_path).startswith("RAPL package-0 is there but not readable: sudo chmod a+r ")
    with pytest.raises(MeterError, match="RAPL package-0 may not be read by this user\n  fix: sudo chmod a"):
        open_meter("RAPL", tmp_path)


def test_the_best_readable_meter_is_taken(tmp_path):
    plant(
        tmp_path,
        {
            f"{RAPL}/name": "package-0",
            f"{RAPL}/energy_uj": {},
            "hwmon/hwmon0/name": "amdgpu",
            "hwmon/hwmon0/power1_average": 9_000_000,
            "hwmon/hwmon2/name": "ina226",
            "hwmon/hwmon2/power1_input": 3_725_000,
        },
    )

    source = open_meter("auto", tmp_path)

    assert (source.kind, source.scope) == ("hwmon power", "ina226 power1")  # not the graphics chip's
    assert watts(source) == pytest.approx(3.725)


def test_of_a_jetsons_rails_the_input_holds_all_others(tmp_path):
    plant(tmp_path, {"hwmon/hwmon1/name": "ina3221"})
    for n, label, mv, ma in ((1, "VDD_IN", 5008, 1200), (2, "VDD_CPU_GPU_CV", 5000, 400)):
        plant(tmp_path, {f"hwmon/hwmon1/in{n}_label": label, f"hwmon/hwmon1/in{n}_input": mv,
                         f"hwmon/hwmon1/curr{n}_input": ma})  # fmt: skip

    assert open_meter("auto", tmp_path).scope == "VDD_IN"
    assert watts(open_meter("auto", tmp_path)) == pytest.approx(6.0096)


def test_a_server_chips_sockets_are_taken_and_not_its_cores_too(tmp_path):
    plant(tmp_path, {"hwmon/hwmon3/name": "amd_energy"})
    for n, label in ((1, "Ecore000"), (2, "Esocket0")):
        plant(tmp_path, {f"hwmon/hwmon3/energy{n}_input": n * 1_000_000, f"hwmon/hwmon3/energy{n}_label": label})

    assert (open_meter("auto", tmp_path).scope, watts(open_meter("auto", tmp_path))) == ("Esocket0", 2.0)


def test_a_pi_5_adds_the_rails_that_have_both_numbers(tmp_path):
    assert pmic_watts(PMIC) == pytest.approx(1.97)
    with pytest.raises(MeterError, match="no rail in its answer: 'error=1 error_msg"):
        pmic_watts('error=1 error_msg="Command not registered"')

    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_text("Raspberry Pi 5 Model B Rev 1.0\0")
    tool = tmp_path / "usr/bin/vcgencmd"
    tool.parent.mkdir(parents=True)
    tool.write_text(f"#!/bin/sh\n[ $1 = pmic_read_adc ] && cat <<'END'\n{PMIC}END\n")
    tool.chmod(0o755)
    source = open_meter("auto", tmp_path)

    assert (source.kind, source.scope, source.rate_hz) == ("Pi 5 PMIC", "board without USB", 10.0)
    assert watts(source) == pytest.approx(1.97)


def test_a_battery_counts_only_while_it_feeds_the_device(tmp_path):
    battery = "power_supply/BAT0"
    plant(tmp_path, {f"{battery}/type": "Battery", f"{battery}/status": "Discharging",
                     f"{battery}/voltage_now": 11_800_000, f"{battery}/current_now": -500_000})  # fmt: skip
    assert watts(open_meter("auto", tmp_path)) == pytest.approx(5.9)

    plant(tmp_path, {f"{battery}/power_now": 6_100_000})
    assert watts(open_meter("battery", tmp_path)) == pytest.approx(6.1)

    plant(tmp_path, {f"{battery}/status": "Charging"})
    with pytest.raises(MeterError, match="the battery is charging: it does not feed the device\n  fix: unplug"):
        battery_watts(tmp_path / "sys/class" / battery)


def test_a_meter_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    plant(tmp_path, {"hwmon/hwmon2/name": "ina226", "hwmon/hwmon2/power1_input": 1})

    with pytest.raises(MeterError, match="there is no meter 'ouija' here; found: hwmon power"):
        open_meter("ouija", tmp_path)
    assert open_meter("none", tmp_path) is None
    assert "this machine has no meter of its own" in why_none(tmp_path / "empty")


def test_a_log_is_read_from_where_it_stands(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("Timestamp,Voltage (V),Note,Current (A)\n1.0,9,old,9\n")
    source = open_log(f"csv:{log}")
    assert source.poll() == []

    with log.open("a") as f:
        f.write(f"{time.time()},5.0,x,0.5\n{time.time()},5.0,x,0.6")
    (sample,) = source.poll()  # the second line has no end yet
    with log.open("a") as f:
        f.write("\n")

    assert sample == (pytest.approx(time.monotonic(), abs=5), 2.5)
    assert watts(source) == 3.0


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        ("a,b,c,d\n", "", "its columns cannot be told: 'a, b, c, d'"),
        ("", "", "its columns cannot be told"),
        ("time,volts\n", "", "its columns cannot be told"),
        ("t,w\n", "1.0,garbage\n", "a line that is no reading: '1.0,garbage'"),
        ("t,w\n", "1.0\n", "a line that is no reading"),
    ],
)
def test_a_log_that_is_none_is_refused(tmp_path, first, then, words):
    log = tmp_path / "log.csv"
    log.write_text(first)

    with pytest.raises(MeterError, match=words):  # noqa: PT012 - opening may refuse already
        source = open_log(f"csv:{log}")
        with log.open("a") as f:
            f.write(then)
        source.poll()
    with pytest.raises(MeterError, match="the log cannot be read"):
        open_log("csv:/nowhere.csv")


def test_times_may_be_words():
    assert columns(["2026-11-23T12:00:00Z", "5.0", "0.1"], "log") == ("t", "v", "a")


def test_a_serial_meter_is_read_line_by_line():
    ours, theirs = pty.openpty()
    source = open_log(f"serial:{os.ttyname(theirs)}@9600")

    os.write(ours, b"1,0.1\r\n5.0,0.5\r\n5.0,")
    time.sleep(0.05)
    first = source.poll()
    os.write(ours, b"0.7\r\n")
    time.sleep(0.05)
    second = source.poll()

    assert [v for _, v in first] == [2.5]
    assert [v for _, v in second] == [3.5]
    assert source.poll() == []
    os.write(ours, b"no reading\n" * 30)
    time.sleep(0.05)
    with pytest.raises(MeterError, match="it sends no readings, but 'no reading'"):
        source.poll()
    os.close(ours)
    os.close(theirs)


def test_a_serial_line_that_cannot_be_opened_says_who_may():
    with pytest.raises(
        MeterError, match=r"the serial line cannot be opened: .*\n  fix: is it plugged in, and is this user"
    ):
        open_log("serial:/dev/ttyNONE0")


# -- joules of a window ------------------------------------------------------------------------------------------------


def source(quantity="W", *, rate=10.0, gap=1.0, poll=list):
    return Source("test", "all of it", quantity, rate, gap, poll)


def ramp(seconds=10, rate=10):
    return [(i / rate, float(i) / rate) for i in range(seconds * rate + 1)]


def test_watts_are_integrated_by_trapezoids_with_interpolated_ends():
    assert joules(ramp(), source(), 2.05, 4.05) == pytest.approx((4.05**2 - 2.05**2) / 2)


def test_a_counter_is_read_at_both_ends():
    assert joules(ramp(), source("J"), 2.05, 4.05) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("samples", "quantity", "words"),
    [
        (ramp(3), "W", "the meter gave nothing for a part of the window"),
        ([s for s in ramp() if not 2.2 < s[0] < 3.9], "W", r"the meter was silent for 1\.7 s"),
        ([(t, 5.0) for t, _ in ramp()], "J", "the counter stood still"),
        ([], "W", "the meter gave nothing"),
    ],
    ids=["stopped", "gap", "stuck", "empty"],
)
def test_a_meter_that_stops_gives_no_energy(samples, quantity, words):
    with pytest.raises(MeterError, match=words):
        joules(samples, source(quantity), 2.0, 4.0)


def test_energy_of_an_inference_in_all_and_above_idle():
    power = [2.0] * 20 + [6.0] * 40 + [2.2] * 20  # idle, two windows of 2 s, idle; 10 Hz
    samples = [(i / 10, w) for i, w in enumerate(power)]
    work = {
        "idle": [[0.0, 1.9], [6.0, 7.9]],
        "windows": [{"start": 2.0, "end": 3.9, "inferences": 1900}, {"start": 4.0, "end": 5.9, "inferences": 1900}],
    }

    found = account(samples, source(), work)

    assert found["idle_w"] == pytest.approx(2.1)
    assert (found["total_mj"], found["total_ci95"]) == (pytest.approx(6.0), pytest.approx((6.0, 6.0)))
    assert found["net_mj"] == pytest.approx(3.9)
    assert found["net_ci95"] == pytest.approx((3.8, 4.0))  # idling changed by 0.2 W: that is not known better
    assert found["steady_idle"]
    assert not account([(t, w if t < 6 else 4.0) for t, w in samples], source(), work)["steady_idle"]


def test_blocks_are_told_apart_by_the_half_second_they_lie_in():
    blocks = [(t / 50, t / 50 + 0.02, 1.1 if not resting(t / 50) else 1.0) for t in range(100)]

    found = with_and_without(blocks)

    assert (found["with_ms"], found["without_ms"]) == (1.1, 1.0)
    assert found["ratio"] == pytest.approx(1.1)
    assert with_and_without(blocks[:9]) is None


def test_a_sampler_reads_beside_the_work_and_waits_for_a_log_that_lags():
    ticks = []
    with Sampler(source(rate=100.0, poll=lambda: ticks.append(1) or [(time.monotonic(), 1.0)]), [0]) as sampler:
        time.sleep(0.2)
        end = time.monotonic()

    assert sampler.samples[-1][0] >= end
    assert len(ticks) >= 5


# -- a real measurement with a synthetic meter -------------------------------------------------------------------------

BRIEF = Profile(1, 0.05, 0.02, 5, starts=0, throughput_s=0.0, windows=2, window_s=1.6, idle_s=0.3)


def metered(bundle, monkeypatch, poll, quantity="W"):
    meter = source(quantity, rate=50.0, gap=0.5, poll=poll)
    monkeypatch.setattr(edge_protocol, "open_meter", lambda wanted: meter)
    monkeypatch.setattr(edge_energy, "LATE_S", 0.2)
    return measure(Job((Subject("a", str(bundle), FORM),), profile=BRIEF, energy="auto"))


@timed
def test_a_constant_power_becomes_millijoules_of_an_inference(module_bundle, monkeypatch):
    found = metered(module_bundle, monkeypatch, lambda: [(time.monotonic(), 3.0)])["models"]["a"]["energy"]

    (first, second), mj = found["windows"], found["total_mj"]
    assert found["label"] == "measured"
    assert first["joules"] == pytest.approx(3.0 * first["seconds"])
    assert mj == pytest.approx(1.5 * sum(3e3 / (w["inferences"] / w["seconds"]) / 3 for w in (first, second)), rel=0.01)
    assert found["net_mj"] == pytest.approx(0.0, abs=mj * 1e-6)
    assert found["disturbance"] is None or found["disturbance"]["with_ms"] > 0  # None: a busy machine, too few blocks


@timed
def test_a_meter_that_dies_costs_the_energy_and_nothing_else(module_bundle, monkeypatch):
    polls = []

    def poll():
        polls.append(1)
        if len(polls) > 70:
            raise MeterError("the meter gives no number: gone", "/sys/x", "see whether it is still there")
        return [(time.monotonic(), 3.0)]

    document = metered(module_bundle, monkeypatch, poll)

    assert document["models"]["a"]["energy"] == {"label": "none", "why": "the meter gives no number: gone (/sys/x)"}
    assert document["models"]["a"]["summary"]["p50_ms"] > 0
    assert "no energy of a: the meter gives no number: gone (/sys/x)" in [e["text"] for e in document["events"]]


@timed
def test_a_counter_that_stands_still_gives_no_energy(module_bundle, monkeypatch):
    document = metered(module_bundle, monkeypatch, lambda: [(time.monotonic(), 3.0)], "J")

    assert document["models"]["a"]["energy"]["why"] == "the counter stood still (all of it)"
