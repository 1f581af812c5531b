import errno
import os
import subprocess
import sys
import time

import pytest

from compress.errors import CacheError, UsageError
from compress.run.cache import Cache, make_key

KEY = make_key("train", {"epochs": 1}, version=1, inputs={"data": "abc"}, seed=0, tools={"torch": "2"})


@pytest.fixture
def said():
    return []


@pytest.fixture
def cache(tmp_path, said):
    return Cache(tmp_path / "cache", said.append)


def write_result(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "weights").write_bytes(b"12345")
    return {"seconds": 1.5}


@pytest.mark.parametrize(
    "change",
    [{"version": 2}, {"inputs": {"data": "abd"}}, {"seed": 1}, {"tools": {"torch": "3"}}, {"inputs": {}}],
    ids=str,
)
def test_whatever_could_change_a_result_changes_its_key(change):
    base = {"version": 1, "inputs": {"data": "abc"}, "seed": 0, "tools": {"torch": "2"}}

    assert make_key("train", {"epochs": 1}, **base) == KEY
    assert make_key("train", {"epochs": 1}, **{**base, **change}) != KEY
    assert make_key("train", {"epochs": 2}, **base) != KEY


def test_what_was_put_is_got_and_its_workdir_is_gone(cache):
    cache.workdir(KEY).mkdir()
    assert cache.get(KEY) is None

    cache.put(KEY, write_result)
    entry = cache.get(KEY)

    assert entry.record == {"seconds": 1.5}
    assert (entry.folder / "sub" / "weights").read_bytes() == b"12345"
    assert not cache.workdir(KEY).exists()


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "entry", "no entry"])
def test_a_damaged_entry_is_reported_removed_and_absent(cache, said, damage):
    folder = cache.put(KEY, write_result).folder
    weights = folder / "sub" / "weights"
    if damage == "flip":
        weights.write_bytes(b"12346")
    elif damage == "truncate":
        weights.write_bytes(b"")
    elif damage == "delete":
        weights.unlink()
    elif damage == "entry":
        (folder / "entry.json").write_text("{")
    else:
        (folder / "entry.json").unlink()

    assert cache.get(KEY) is None
    assert not folder.exists()
    assert len(said) == 1
    assert "is damaged" in said[0]
    assert "it is removed and made again" in said[0]


def test_a_file_where_an_entry_should_be_is_damage_too(cache, said):
    folder = cache._folder(KEY)
    folder.parent.mkdir()
    folder.write_text("x")

    assert cache.get(KEY) is None
    assert "(entry.json: Not a directory)" in said[0]
    cache.put(KEY, write_result)
    assert cache.get(KEY) is not None


def test_damage_is_named_in_few_words(cache, said):
    (cache.put(KEY, write_result).folder / "sub" / "weights").unlink()
    cache.get(KEY)

    assert said == [
        f"cache entry {KEY[:12]} is damaged (weights: No such file or directory); it is removed and made again"
    ]


def test_what_a_killed_process_left_half_made_goes_when_its_step_is_made_again(cache):
    mine, other = (cache.root / "temporary" / f"{name}-1-ab" for name in (KEY[:12], "0123456789ab"))
    for folder in (mine, other):
        folder.mkdir()
    with cache.lock(KEY):
        assert not mine.exists()
        assert other.exists()  # its process may be at work


def test_an_entry_can_be_read_by_whom_the_umask_lets(cache):
    folder = cache.put(KEY, write_result).folder
    umask = os.umask(0)
    os.umask(umask)

    assert folder.stat().st_mode & 0o777 == 0o777 & ~umask


def test_a_failing_writer_leaves_nothing_behind(cache):
    def fail(folder):
        write_result(folder)
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        cache.put(KEY, fail)

    assert cache.get(KEY) is None
    assert list((cache.root / "temporary").iterdir()) == []


def test_a_full_disk_is_one_clear_error(cache):
    def fail(folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "weights"))

    with pytest.raises(CacheError, match="cannot write: No space left on device\n  fix: free some space"):
        cache.put(KEY, fail)


def test_the_second_of_two_writers_keeps_the_first_entry(cache):
    first = cache.put(KEY, write_result)
    second = cache.put(KEY, write_result)

    assert first.folder == second.folder
    assert cache.get(KEY) is not None


def test_a_key_is_held_by_one_process_at_a_time_and_freed_by_death(cache, said):
    code = (
        "import sys, time; from pathlib import Path; from compress.run.cache import Cache\n"
        "cache = Cache(Path(sys.argv[1]), print)\n"
        "with cache.lock(sys.argv[2]):\n    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(cache.root), KEY], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    waiter = subprocess.Popen([sys.executable, "-c", code, str(cache.root), KEY], stdout=subprocess.PIPE, text=True)
    assert waiter.stdout.readline().startswith("another process is making")
    started = time.monotonic()
    holder.kill()

    assert waiter.stdout.readline() == "held\n"
    assert time.monotonic() - started < 10
    for process in (holder, waiter):
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_file_for_a_cache_is_a_wrong_call(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="it is a file, not a folder"):
        Cache(tmp_path / "file", print)
