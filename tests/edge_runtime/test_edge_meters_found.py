import os

import pytest
from edge_runtime.edge_meters import Meter, find_meters


def plant(root, files):
    for name, text in files.items():
        path = root / "sys/class" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def found(root):
    return [(m.kind, m.scope) for m in find_meters(root)]


def test_counters_come_before_powers_and_the_battery_last(tmp_path):
    plant(
        tmp_path,
        {
            "power_supply/BAT0/type": "Battery",
            "power_supply/BAT0/power_now": "5900000",
            "power_supply/AC/type": "Mains",
            "hwmon/hwmon2/name": "ina226",
            "hwmon/hwmon2/power1_input": "3725000",
            "hwmon/hwmon3/name": "amd_energy",
            "hwmon/hwmon3/energy1_input": "1",
            "hwmon/hwmon3/energy1_label": "Esocket0",
            "powercap/intel-rapl:0/name": "package-0",
            "powercap/intel-rapl:0/energy_uj": "262143000000",
        },
    )

    assert found(tmp_path) == [
        ("hwmon energy", "Esocket0"),
        ("RAPL", "package-0"),
        ("hwmon power", "ina226 power1"),
        ("battery", "whole device, BAT0"),
    ]


def test_zones_inside_a_package_are_not_meters_of_their_own(tmp_path):
    plant(
        tmp_path,
        {
            "powercap/intel-rapl/enabled": "1",
            "powercap/intel-rapl:0/name": "package-0",
            "powercap/intel-rapl:0/energy_uj": "1",
            "powercap/intel-rapl:0:0/name": "core",
            "powercap/intel-rapl:0:0/energy_uj": "1",
        },
    )

    assert found(tmp_path) == [("RAPL", "package-0")]


def test_a_jetsons_rails_are_voltage_and_current_pairs(tmp_path):
    plant(
        tmp_path,
        {
            "hwmon/hwmon1/name": "ina3221",
            "hwmon/hwmon1/in1_label": "VDD_IN",
            "hwmon/hwmon1/in1_input": "5008",
            "hwmon/hwmon1/curr1_input": "1200",
            "hwmon/hwmon1/curr2_input": "7",
        },
    )

    assert found(tmp_path) == [("INA3221", "VDD_IN")]


def test_an_old_battery_that_tells_only_current_counts_and_an_empty_machine_has_none(tmp_path):
    assert find_meters(tmp_path) == ()
    plant(tmp_path, {"power_supply/BAT1/type": "Battery", "power_supply/BAT1/current_now": "-500000"})

    assert found(tmp_path) == [("battery", "whole device, BAT1")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_counter_for_root_only_is_found_and_said_to_be_unreadable(tmp_path):
    plant(tmp_path, {"powercap/intel-rapl:0/name": "package-0", "powercap/intel-rapl:0/energy_uj": "1"})
    path = tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj"
    path.chmod(0o000)

    assert find_meters(tmp_path) == (Meter("RAPL", "package-0", str(path), readable=False),)
