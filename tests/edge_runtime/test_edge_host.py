import json
import os
import sys
from pathlib import Path

import pytest
from edge_runtime import edge_host as host

MACHINES = Path(__file__).parents[1] / "machines"  # recorded /proc/cpuinfo files, cut to what is read


def cpuinfo(name):
    return (MACHINES / f"{name}.cpuinfo").read_text()


def plant(root, files):
    """Write files below root, as the kernel would: each ends in a newline."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def test_a_server_with_vnni(tmp_path):
    plant(
        tmp_path,
        {
            "proc/cpuinfo": cpuinfo("x86_vnni"),
            "proc/loadavg": "1.19 0.5 0.2 2/98 7575",
            "proc/meminfo": "MemTotal:       24683656 kB\nMemFree: 1 kB\nMemAvailable:   23138372 kB",
            "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"',
            "sys/fs/cgroup/cpu.max": "150000 100000",
            ".dockerenv": "",
        },
    )

    facts = host.host_facts(tmp_path)

    assert facts["cpu"] == "Intel(R) Xeon(R) Processor"
    assert facts["cpu_features"] == ["amx_int8", "avx2", "avx512_vnni", "avx512f", "avx_vnni", "f16c", "fma", "sse4_2"]
    assert (facts["frequency_mhz"], facts["load_1min"], facts["cpu_quota_cores"]) == (2601.5, 1.19, 1.5)
    assert facts["memory_total_bytes"] == 24683656 * 1024
    assert facts["memory_available_bytes"] == 23138372 * 1024
    assert facts["system"] == "Debian GNU/Linux 12 (bookworm)"
    assert facts["virtual"] == ["virtual machine", "container"]
    assert facts["governor"] is facts["temperature_c"] is facts["throttled_now"] is facts["board"] is None


def test_a_raspberry_pi_with_its_sensors(tmp_path):
    cpufreq = "sys/devices/system/cpu/cpu0/cpufreq"
    plant(
        tmp_path,
        {
            "proc/cpuinfo": cpuinfo("pi4"),
            "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.1\0",
            f"{cpufreq}/scaling_governor": "ondemand",
            f"{cpufreq}/scaling_cur_freq": "600000",
            f"{cpufreq}/cpuinfo_max_freq": "1500000",
            "sys/class/thermal/thermal_zone0/temp": "48312",
        },
    )

    facts = host.host_facts(tmp_path)

    assert (facts["cpu"], facts["board"]) == ("4 x Cortex-A72", "Raspberry Pi 4 Model B Rev 1.1")
    assert facts["cpu_features"] == ["neon"]
    assert (facts["governor"], facts["frequency_mhz"], facts["frequency_max_mhz"]) == ("ondemand", 600.0, 1500.0)
    assert facts["temperature_c"] == pytest.approx(48.312)
    assert facts["virtual"] == []


@pytest.mark.parametrize(
    ("recorded", "model", "features"),
    [
        (cpuinfo("pi5"), "4 x Cortex-A76", {"neon", "dotprod", "fp16"}),
        (cpuinfo("pi3_32bit"), "ARMv7 Processor rev 4 (v7l)", {"neon"}),
        (cpuinfo("big_little"), "2 x Cortex-A53 + 2 x Cortex-A72", {"neon"}),
        (cpuinfo("x86_haswell"), "Intel(R) Core(TM) i5-4590 CPU @ 3.30GHz", {"avx2", "fma", "f16c", "sse4_2"}),
        (cpuinfo("pi4").replace("0xd08", "0xfff"), "4 x ARM part 0xfff", {"neon"}),
    ],
    ids=["pi5", "pi3-32bit", "big-little", "haswell", "unknown-arm"],
)
def test_cpu_names_and_what_every_core_has(tmp_path, recorded, model, features):
    plant(tmp_path, {"proc/cpuinfo": recorded})

    assert host.cpu_model(tmp_path) == model
    assert host.cpu_features(tmp_path) == features


def test_a_machine_that_tells_nothing_gives_nothing_and_no_error(tmp_path):
    facts = host.host_facts(tmp_path)

    assert facts["cpu_features"] == []
    assert facts["load_1min"] is facts["temperature_c"] is facts["memory_total_bytes"] is None
    assert json.loads(json.dumps(facts)) == facts


def test_nonsense_in_sys_counts_as_unreadable(tmp_path):
    plant(tmp_path, {"sys/class/thermal/thermal_zone0/temp": "n/a", "sys/class/thermal/thermal_zone1/temp": "-274000"})

    assert host.temperature_c(tmp_path) is None


def test_the_hottest_cpu_sensor_counts_and_a_disk_does_not(tmp_path):
    hwmon = "sys/class/hwmon"
    plant(
        tmp_path,
        {
            f"{hwmon}/hwmon0/name": "nvme",
            f"{hwmon}/hwmon0/temp1_input": "99000",
            f"{hwmon}/hwmon1/name": "coretemp",
            f"{hwmon}/hwmon1/temp1_input": "61000",
            f"{hwmon}/hwmon1/temp2_input": "64000",
        },
    )

    assert host.temperature_c(tmp_path) == 64.0


def test_cores_are_chosen_fast_first_and_one_thread_a_core(tmp_path):
    cpu = "sys/devices/system/cpu"
    plant(tmp_path, {f"{cpu}/cpu{i}/topology/thread_siblings_list": f"{i % 2},{i % 2 + 2}" for i in range(4)})

    assert host.choose_cores(1, tmp_path, (0, 1, 2, 3)) == (3,)
    assert host.choose_cores(2, tmp_path, (0, 1, 2, 3)) == (2, 3)
    assert host.choose_cores(3, tmp_path, (0, 1, 2, 3)) == (1, 2, 3)

    plant(tmp_path, {f"{cpu}/cpu1/cpu_capacity": 1024, f"{cpu}/cpu3/cpu_capacity": 400})
    assert host.choose_cores(1, tmp_path, (0, 1, 2, 3)) == (1,)
    assert host.choose_cores(9, tmp_path, (0, 1)) == (0, 1)


def test_throttle_bits_of_a_pi_in_words():
    assert host.parse_throttled("throttled=0x50005\n") == 0x50005
    assert host.parse_throttled('error=1 error_msg="Command not registered"') is None
    assert host.throttle_names(0x50005) == ["under-voltage", "throttled"]
    assert host.throttle_names(0x50000) == []  # once, not now
    assert host.throttle_names(0x50000, since_boot=True) == ["under-voltage", "throttled"]
    assert host.throttle_names(None) is None


def test_throttle_counts_add_up_over_cores(tmp_path):
    assert host.throttle_count(tmp_path) is None
    cpu = "sys/devices/system/cpu"
    plant(tmp_path, {f"{cpu}/cpu{i}/thermal_throttle/core_throttle_count": i + 2 for i in range(2)})

    assert host.throttle_count(tmp_path) == 5


def test_this_very_machine():
    facts = host.host_facts()

    assert facts["cores"] == len(os.sched_getaffinity(0))
    assert facts["python"] == sys.version.split()[0]
    assert "numpy" in facts["packages"]


def test_busy_seconds_are_those_of_the_named_cores(tmp_path):
    ticks = host.os.sysconf("SC_CLK_TCK")
    idle, waiting = 900 * ticks, 50 * ticks
    lines = [f"cpu{core} {ticks} 0 {2 * ticks} {idle} {waiting} 0 0 {core * ticks} 0 0" for core in range(3)]
    plant(tmp_path, {"proc/stat": "\n".join([f"cpu {9 * ticks} 0 0 {idle} 0 0 0 0 0 0", *lines])})

    assert host.busy_seconds((), tmp_path) == 9.0
    assert host.busy_seconds((2,), tmp_path) == 5.0  # user, system and what the hypervisor took; not idle, not waiting
    assert host.busy_seconds((0, 1), tmp_path) == 7.0
    assert host.busy_seconds((7,), tmp_path) is None
    assert host.busy_seconds((0,), tmp_path / "nowhere") is None


def test_a_moment_has_the_timed_cores_speed_and_clocks_that_agree(tmp_path):
    cpu = "sys/devices/system/cpu"
    plant(tmp_path, {f"{cpu}/cpu{i}/cpufreq/scaling_cur_freq": f"{1000000 + i}000" for i in range(3)})

    first, second = host.moment((1, 2), tmp_path), host.moment((1, 2), tmp_path)

    assert first.frequency_mhz == 1000001.0
    assert (first.busy_s, first.throttled, first.throttle_count) == (None, None, None)
    assert 0 <= second.monotonic_s - first.monotonic_s < 5
    assert abs((second.wall_s - first.wall_s) - (second.boottime_s - first.boottime_s)) < 0.5
