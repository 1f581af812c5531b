import os

import pytest
from edge_runtime.quiet import without_engine_notice

NOTICE = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"


def test_only_the_notice_is_held_back(capfd):
    with without_engine_notice():
        os.write(2, b"before\n" + NOTICE + b"ERROR: a kernel failed\n")
    os.write(2, NOTICE)

    assert capfd.readouterr().err == "before\nERROR: a kernel failed\n" + NOTICE.decode()


def test_what_was_said_before_a_failure_is_passed_on(capfd):
    @without_engine_notice()
    def fail():
        os.write(2, b"last words\n")
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()

    assert capfd.readouterr().err == "last words\n"


def test_with_no_room_for_what_is_held_back_nothing_is(capfd, monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryFile", full)

    with without_engine_notice():
        os.write(2, NOTICE)

    assert capfd.readouterr().err == NOTICE.decode()


def full():
    raise OSError(28, "No space left on device")
