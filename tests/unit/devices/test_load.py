"""devices.yaml: what it may say, and every problem at once with its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.devices.load import DevicesError, choose, load_devices, parse_devices
from compress.devices.schema import Device


def test_without_a_file_there_are_this_machine_and_its_gpu(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    assert {d.name: d.kind for d in load_devices().values()} == {"cpu": "local", "gpu": "gpu"}


def test_the_file_here_comes_before_the_one_at_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    home = tmp_path / ".config" / "compress" / "devices.yaml"
    home.parent.mkdir(parents=True)
    home.write_text("pi4: pi@one\n")
    assert load_devices()["pi4"].host == "one"

    (tmp_path / "devices.yaml").write_text("pi5: {ssh: 'pi@two:2222', threads: 4, timeout_s: 60}\ncpu: {threads: 2}\n")
    found = load_devices()

    assert set(found) == {"cpu", "gpu", "pi5"}
    assert (found["pi5"].user, found["pi5"].host, found["pi5"].port) == ("pi", "two", 2222)
    assert (found["cpu"].threads, found["cpu"].kind, found["pi5"].timeout_s) == (2, "local", 60.0)


def test_every_problem_is_listed_with_its_line():
    text = """\
pi5:
  ssh: pi:raspberry@raspberrypi.local
  thread: 4
pi4: {ssh: "-oProxyCommand=evil", password: raspberry}
Big: {}
odd: [1]
slow: {threads: 0, timeout_s: forever, energy: 3}
alias: {kind: ssh}
"""
    with pytest.raises(DevicesError) as caught:
        parse_devices(text, "devices.yaml")

    assert str(caught.value).splitlines() == [
        "devices.yaml: 10 problems",
        "    line 2: pi5.ssh: it holds a password; remove it: compress logs in by key alone (ssh-copy-id)",
        "    line 3: pi5.thread: unknown key; did you mean 'threads'?",
        "    line 4: pi4.ssh: '-oProxyCommand=evil' is no address; want [user@]host[:port], as in pi@raspberrypi.local",
        "    line 4: pi4.password: no passwords here: compress logs in by key alone (ssh-copy-id)",
        "    line 5: Big: a device's name has lower-case letters, digits, - and _, 64 at most",
        "    line 6: odd: want the device's keys, as in {ssh: pi@raspberrypi.local}, got a list",
        "    line 7: slow.threads: 0 is out of range; want 1 to 256",
        "    line 7: slow.energy: want text, got 3",
        "    line 7: slow.timeout_s: want a number, got the text 'forever'",
        "    line 8: alias: kind: ssh and an address under `ssh` go together",
        "  fix: correct the lines above; nothing has run",
    ]


def test_a_password_is_not_repeated_in_the_message():
    with pytest.raises(DevicesError) as caught:
        parse_devices("pi5: {ssh: 'pi:secret@host'}", "d")

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("raspberrypi", (None, "raspberrypi", None)),
        ("pi@10.0.0.7:22", ("pi", "10.0.0.7", 22)),
        ("pi@[fe80::1%eth0]:2222", ("pi", "fe80::1%eth0", 2222)),
    ],
)
def test_addresses(address, parts):
    device = Device(name="a", kind="ssh", ssh=address)

    assert (device.user, device.host, device.port) == parts


@pytest.mark.parametrize("address", ["", "a b", "@host", "host:", "host:99999", "-x", "pi@-x", "a;b", "$(x)"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(DevicesError, match="no address"):
        parse_devices(f"pi: {{ssh: {address!r}}}", "d")


def test_an_unknown_device_is_refused_with_the_nearest():
    devices = parse_devices("pi5: pi@host", "d")

    with pytest.raises(DevicesError, match=r"there is no device 'pi6'; did you mean 'pi5'\?"):
        choose(devices, ["cpu", "pi6"])
    with pytest.raises(DevicesError, match="named twice"):
        choose(devices, ["cpu", "cpu"])
    assert [d.name for d in choose(devices, ["pi5", "cpu"])] == ["pi5", "cpu"]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DevicesError, match="there is no such file"):
        load_devices(tmp_path / "none.yaml")
    with pytest.raises(DevicesError, match="it cannot be read"):
        load_devices(tmp_path)


@given(st.text(max_size=80) | st.binary(max_size=80))
def test_any_text_is_devices_or_a_message(text):
    try:
        assert all(isinstance(d, Device) for d in parse_devices(text, "d").values())
    except DevicesError as error:
        assert "line " in str(error)  # noqa: PT017
