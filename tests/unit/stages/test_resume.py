"""The state file: whole or absent, never trusted when damaged."""

import resource

import pytest
import torch

from compress.errors import CacheError
from compress.stages.resume import FILE, State, digest_tensors, load_state, nest, save_state, unnest


@pytest.fixture
def state():
    tensors = {"a.w": torch.arange(6.0).reshape(2, 3), "a.n": torch.tensor(3), "m": torch.tensor([True, False])}
    return State(tensors, {"epochs": [{"loss": 0.1}], "best": 1})


def test_a_state_reads_back_exactly(tmp_path, state):
    save_state(tmp_path / "new" / "folder", "me", state)
    back, note = load_state(tmp_path / "new" / "folder", "me")

    assert note == ""
    assert back.facts == state.facts
    assert digest_tensors(back.tensors) == digest_tensors(state.tensors)


def test_no_file_is_no_state_and_no_note(tmp_path):
    assert load_state(tmp_path, "me") == (None, "")


def test_damage_anywhere_is_noticed_and_named(tmp_path, state):
    save_state(tmp_path, "me", state)
    whole = (tmp_path / FILE).read_bytes()
    for place in range(0, len(whole), 7):
        (tmp_path / FILE).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        back, note = load_state(tmp_path, "me")
        assert back is None
        assert note.endswith(f"{FILE} is damaged; training starts again")
    (tmp_path / FILE).write_bytes(whole[:-1])
    assert "is damaged" in load_state(tmp_path, "me")[1]
    (tmp_path / FILE).write_bytes(b"")
    assert "is damaged" in load_state(tmp_path, "me")[1]


def test_another_training_s_state_is_not_used(tmp_path, state):
    save_state(tmp_path, "me", state)

    back, note = load_state(tmp_path, "somebody else")

    assert back is None
    assert "belongs to another training" in note


def test_a_file_with_a_right_checksum_and_wrong_content_is_not_used(tmp_path):
    import hashlib

    body = b"\x02\0\0\0\0\0\0\0{}"
    (tmp_path / FILE).write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)

    assert "is not a training state" in load_state(tmp_path, "me")[1]


def test_a_folder_that_cannot_be_written_is_a_cache_error_and_keeps_the_old_file(tmp_path, state):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(CacheError, match="the training state cannot be written") as caught:
        save_state(tmp_path / "file", "me", state)
    assert "free some space" in caught.value.fix
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_write_that_fails_half_way_keeps_the_old_state_whole(tmp_path, state):
    save_state(tmp_path, "me", state)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # what a full disk does, at the thousandth byte
    try:
        with pytest.raises(CacheError, match="the training state cannot be written: File too large"):
            save_state(tmp_path, "me", State({"a": torch.zeros(5000)}, {}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    back, note = load_state(tmp_path, "me")
    assert (back.facts, note) == (state.facts, "")
    assert [p.name for p in tmp_path.iterdir()] == [FILE]


def test_no_temporary_file_stays_behind(tmp_path, state):
    save_state(tmp_path, "me", state)
    save_state(tmp_path, "me", state)

    assert [p.name for p in tmp_path.iterdir()] == [FILE]


def test_digest_moves_with_name_type_shape_and_value():
    tensors = [
        {"a": torch.zeros(4)},
        {"b": torch.zeros(4)},
        {"a": torch.zeros(4, dtype=torch.int32)},
        {"a": torch.zeros(2, 2)},
        {"a": torch.tensor([0.0, 0, 0, 1])},
    ]

    assert len({digest_tensors(t) for t in tensors}) == 5
    assert unnest("x", nest("x", tensors[0])).keys() == {"a"}
