"""A device behind a real sshd on loopback: this machine's own programs, in a home and a /tmp of its own."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pi.sshd import Sshd

WRAPPER = """
export HOME={home} TMPDIR={home}/tmp
cd {home}
exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"
"""


@pytest.fixture(scope="session")
def board(tmp_path_factory):
    """The sshd; `board.home` is the device's home folder."""
    folder = tmp_path_factory.mktemp("board")
    home = folder / "home"
    (home / "tmp").mkdir(parents=True)
    with Sshd(folder / "sshd", WRAPPER.format(home=home)) as sshd:
        sshd.home = home
        yield sshd


@pytest.fixture
def device(board):
    """An entry of devices.yaml for it, with this Python."""
    return board.device(python=sys.executable, grace_s=20)


@pytest.fixture
def make_job(tmp_path):
    """make_job(python source) -> (job folder, command)."""

    def make(source, **files):
        folder = tmp_path / "job"
        folder.mkdir()
        (folder / "main.py").write_text(source)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return folder, ["{python}", "main.py"]

    return make
