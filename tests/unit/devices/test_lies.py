"""A device that is broken or not ours: what it sends is bounded here, in memory, on the disk and in time."""

import sys
import threading

import pytest

from compress.devices.call import Call, LinkLostError
from compress.devices.schema import Device
from compress.devices.session import Session
from compress.errors import DeviceError

HELLO = "import os, sys; put = lambda d: os.write(1, d); put(b'\\n\\x01compress-agent 1\\n')\n"


class Liar:
    """A local process that answers as it likes."""

    name = "liar"

    def __init__(self, code):
        self.code = code

    def argv(self, script):
        return [sys.executable, "-c", HELLO + self.code]

    def explain(self, code, stderr):
        return LinkLostError(f"it ended with {code}: {stderr}")


@pytest.mark.parametrize("digit", ["7", "J"])
def test_a_header_without_end_is_no_answer(digit):
    with (
        Call(Liar(f"while True: put(b'{digit}' * 65536)"), {}) as call,
        pytest.raises(LinkLostError, match="which is no answer of ours"),
    ):
        call.answer(5.0)
    assert len(call._rest) < 1 << 20


def test_a_result_larger_than_promised_does_not_fill_the_disk(tmp_path):
    liar = Liar("while True: put(b'D65536\\n' + bytes(65536))")
    device = Device(name="liar", kind="local")
    session = Session(device, liar, lambda text: None, threading.Event(), "test")
    entry = {"path": "r.json", "size": 100, "sha256": "0" * 64}

    with pytest.raises(DeviceError, match=r"the result r\.json arrived cut short or damaged, twice"):
        session.fetch([entry], tmp_path / "out")
    assert list(tmp_path.rglob("*.json")) == []


@pytest.mark.parametrize("entry", [{}, {"path": 3, "size": 1, "sha256": ""}, {"path": "a", "size": "1", "sha256": ""},
                                   {"path": "a", "size": -1, "sha256": ""}, "x"])  # fmt: skip
def test_results_that_are_not_described_are_refused(tmp_path, entry):
    session = Session(Device(name="liar", kind="local"), Liar(""), lambda text: None, None, "test")

    with pytest.raises(DeviceError, match="do not trust this device"):
        session.fetch([entry], tmp_path / "out")
