"""docs/own-model.md: every block of code in it is run, each section in a folder of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "own-model.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)[ ]?([^\n]*)\n(.*?)^```$", re.M | re.S)


def sections() -> dict[str, list[tuple[str, str, str]]]:
    """Heading -> its blocks: language, what stands behind it, content."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.M)
    return {title: BLOCK.findall(text) for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def run(command: list[str], folder: Path) -> str:
    """One block, with `compress` being the one under test."""
    shim = folder / "bin"
    shim.mkdir(exist_ok=True)
    (shim / "compress").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m compress "$@"\n')
    (shim / "compress").chmod(0o755)
    environment = {**os.environ, "COMPRESS_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1",
                   "PATH": f"{shim}:{os.environ['PATH']}"}  # fmt: skip
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("title", sections())
def test_every_block_runs(title, tmp_path):
    for language, info, content in sections()[title]:
        if info.startswith("file="):
            (tmp_path / info.removeprefix("file=")).write_text(content)
        elif language == "python":
            assert info == "run"
            run([sys.executable, "-c", re.sub(r"runs/(my_\w+)/bundle", r"runs/\1-smoke/bundle", content)], tmp_path)
        else:
            assert (language, info) == ("bash", "")
            script = re.sub(r"^compress run ", "compress run --smoke ", content, flags=re.M)
            said = run(["bash", "-euc", script], tmp_path)
            assert ("refused, as it should be" in said) == ("refused" in content)


def test_the_page_has_blocks_of_every_kind():
    kinds = {(language, info.partition("=")[0]) for blocks in sections().values() for language, info, _ in blocks}
    assert kinds == {("python", "run"), ("python", "file"), ("yaml", "file"), ("bash", "")}
    assert len(sections()) >= 6


def test_every_recipe_of_the_page_has_a_name_of_its_own():
    names = [
        re.search(r"^name: (\w+)$", c, re.M)[1] for b in sections().values() for _, i, c in b if i.endswith("yaml")
    ]
    assert len(set(names)) == len(names)


def test_the_page_opens_the_bundles_that_its_own_commands_write():
    """The tests run everything with --smoke; whoever copies the page does not."""
    names = set(re.findall(r"^name: (\w+)$", PAGE, re.M))
    opened = set(re.findall(r'load\("runs/(.+?)/bundle"\)', PAGE))
    assert opened <= names | {"model-int8"}
    assert len(opened) >= 4
