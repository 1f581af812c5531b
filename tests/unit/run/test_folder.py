import subprocess
import sys

import pytest

from compress.errors import CacheError, UsageError
from compress.run.folder import RunFolder


def test_a_folder_is_replaced_whole(tmp_path):
    folder = RunFolder(tmp_path / "run")
    for content in ("old", "new"):
        source = tmp_path / content
        source.mkdir()
        (source / content).write_text(content)
        (source / "entry.json").write_text("{}")
        folder.place(source, "checkpoints/01-distill", without=("entry.json",))

    placed = tmp_path / "run" / "checkpoints" / "01-distill"
    assert [p.name for p in placed.iterdir()] == ["new"]
    assert [p.name for p in placed.parent.iterdir()] == ["01-distill"]


def test_what_another_plan_left_is_removed(tmp_path):
    folder = RunFolder(tmp_path)
    for name in ("00-teacher", "01-prune"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    folder.keep_only("checkpoints", {"00-teacher"})

    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["00-teacher"]


def test_a_second_run_in_the_same_folder_is_refused_and_told_who_holds_it(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from compress.run.folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).held():\n    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(
                UsageError, match=rf"another run \(process {holder.pid}\) is writing here\n  fix: wait for it"
            ),
            RunFolder(tmp_path).held(),
        ):
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with RunFolder(tmp_path).held():  # the kernel freed it
        pass


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UsageError, match="run: it is a file, not a folder\n  fix: choose another folder with --out"):
        RunFolder(tmp_path / "run").held().__enter__()


def test_a_copy_that_fails_half_way_is_one_sentence_and_the_old_folder_stays(tmp_path):
    source, folder = tmp_path / "new", RunFolder(tmp_path / "run")
    for name in ("a", "b"):
        (source / "sub" / name).parent.mkdir(parents=True, exist_ok=True)
        (source / "sub" / name).write_text("1")
    folder.place(source, "bundle")
    for name in ("a", "b"):
        (source / "sub" / name).unlink()
        (source / "sub" / name).symlink_to(tmp_path / "gone")
    with pytest.raises(CacheError) as caught:
        folder.place(source, "bundle")

    assert str(caught.value).startswith(f"{source / 'sub' / 'a'}: cannot write: No such file or directory\n  fix: ")
    assert (tmp_path / "run" / "bundle" / "sub" / "b").read_text() == "1"


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="cannot write: Not a directory\n  fix: free some space or choose another"):
        RunFolder(tmp_path / "file" / "run").held().__enter__()


@pytest.mark.parametrize("name", ["checkpoints", "bundle", "artefacts", "predictions"])
def test_a_folder_of_somebody_elses_is_not_replaced(tmp_path, name):
    (tmp_path / name / "mine").mkdir(parents=True)
    (tmp_path / name / "mine" / "weights.pt").write_text("precious")
    with pytest.raises(UsageError, match=f"it holds {name}, which no run wrote"), RunFolder(tmp_path).held():
        pass
    assert sorted(p.name for p in tmp_path.rglob("*")) == sorted([name, "mine", "weights.pt"])

    (tmp_path / "plan.json").write_text("{}")  # a run's folder, copied without its hidden files
    with RunFolder(tmp_path).held():
        pass
