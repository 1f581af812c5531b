from dataclasses import replace

import pytest
from edge_runtime.edge_events import between, told
from edge_runtime.edge_host import Moment

BEFORE = Moment(1000.0, 50.0, 60.0, 7.0, 1500.0, 50.0, 0.2, 0, 3)
AFTER = replace(BEFORE, wall_s=1010.0, monotonic_s=60.0, boottime_s=70.0, busy_s=17.0)
CALM = {"cpu_s": 10.0, "pinned": True}


def events(process=CALM, before=BEFORE, **after):
    return between(before, replace(AFTER, **after), process, 1, "student, process 2 of 5")


def test_a_calm_process_has_nothing_to_tell():
    assert events() == []


@pytest.mark.parametrize(
    ("after", "kind", "void", "words"),
    [
        (
            {"throttled": 0x4},
            "throttled",
            True,
            "the board reports throttled (student, process 2 of 5): the",
        ),
        ({"throttled": 0x10000}, "throttled", True, "the board reports under-voltage"),  # came and went in between
        ({"throttle_count": 4}, "slowed", False, "the CPU was slowed down for heat"),
        ({"busy_s": 19.5}, "busy", False, "other work took 25 % of the timed cores (student, process 2 of 5)"),
        ({"wall_s": 3610.0}, "clock", False, "the clock was set by +2600.0 s"),
        ({"wall_s": 1000.0}, "clock", False, "the clock was set by -10.0 s"),
        ({"boottime_s": 370.0, "wall_s": 1310.0}, "slept", True, "the machine slept for 300.0 s"),
    ],
    ids=["hot", "flicker", "x86-hot", "busy", "ahead", "back", "slept"],
)
def test_what_happened_is_told_in_a_sentence(after, kind, void, words):
    (event,) = events(**after)

    assert (event.kind, event.void) == (kind, void)
    assert event.text.startswith(words)


def test_an_old_mark_since_boot_is_no_news():
    assert between(replace(BEFORE, throttled=0x50000), replace(AFTER, throttled=0x50000), CALM, 1, "") == []


def test_a_process_that_could_not_be_pinned_says_so_and_nobody_is_blamed():
    (event,) = events({"cpu_s": 1.0, "pinned": False})

    assert event.text == "the process could not be pinned to its cores (student, process 2 of 5)"


def test_a_machine_that_tells_nothing_has_nothing_to_tell():
    silent = Moment(1000.0, 50.0, 50.0, None, None, None, None, None, None)

    assert between(silent, replace(silent, wall_s=1010.0, monotonic_s=60.0, boottime_s=60.0), CALM, 1, "") == []


def test_many_events_of_a_kind_become_one_sentence_with_the_worst():
    found = [{"kind": "busy", "text": f"other work took {n} % of the timed cores (p{n})"} for n in (7, 61, 9)]
    found += [{"kind": "not-measured", "text": t} for t in ("a is not measured", "b is not measured")]

    assert told(found) == [
        "other work took 61 % of the timed cores (p61); the worst of 3 such events",
        "a is not measured",
        "b is not measured",
    ]
