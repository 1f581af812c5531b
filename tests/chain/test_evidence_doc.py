"""docs/evidence.md does what it says: its recipe's slices and groups, on a small table of sentences."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from compress.result import load_result
from tests.unit.model.text_folders import write_bert

DOC = Path(__file__).resolve().parents[2] / "docs" / "evidence.md"
pytestmark = pytest.mark.slow
WORDS = {"good": ("good", "great"), "bad": ("bad", "dull")}


def write_reviews(path):
    """Sentences that say what they are, from two sites, one of which writes longer ones."""
    rng = np.random.default_rng(0)
    lines = ["text,label,site,age"]
    for i in range(400):
        label, site = ("good", "bad")[i % 2], ("north", "south")[i // 2 % 2]
        length = rng.integers(3, 10) + 20 * (site == "south") * (i % 3 == 0)
        filler = rng.choice(["the", "film", "a", "story", "of", "it"], length).tolist()
        filler.insert(int(rng.integers(0, length)), str(rng.choice(WORDS[label])))
        lines.append(f"{' '.join(filler)},{label},{site},{rng.integers(18, 80)}")
    path.write_text("\n".join(lines) + "\n")


def test_slices_and_groups_of_the_page_are_told(cli):
    write_bert(cli.folder, kind="BertModel", spread=0.1)
    write_reviews(cli.folder / "reviews.csv")
    blocks = re.findall(r"```yaml\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    (shown,) = [yaml.safe_load(b) for b in blocks if "sensitive" in b]
    shown["data"] |= {"max_length": 24}
    recipe = {
        "version": 1, "name": "reviews", "task": "text-classification", **shown,
        "teacher": {"hf": ".", "train": {"epochs": 4, "learning_rate": 0.003, "batch_size": 16}},
        "stages": [{"quantize": {"how": "static"}}], "export": ["onnx"],
        "measure": {"profile": "smoke"}, "allow_slower": True,
    }  # fmt: skip
    recipe["attribution"] = {"examples": 2, "permutations": 2}
    (cli.folder / "reviews.yaml").write_text(yaml.safe_dump(recipe))
    cli("lint", "reviews.yaml")
    cli("run", "reviews.yaml")

    run = cli.folder / "runs" / "reviews"
    c = load_result(run / "result.json").comparison
    assert {(g.column, g.name) for g in c.groups} == {("site", "north"), ("site", "south")}
    assert {g.metric for g in c.gaps} == {"accuracy", "selection rate", "true positive rate", "false positive rate"}
    families = {s.family for s in c.slices}
    assert {"site", "age", "words", "chosen"} <= families
    chosen = {s.name for s in c.slices if s.family == "chosen"} | {n.split("'")[1] for n in c.notes}
    assert chosen == {"words above 20", "the north", "confidence below 0.6"}
    north = next(s for s in c.slices if s.name == "the north")
    assert north.count == next(g.count for g in c.groups if g.name == "north")
    assert "As fair to each group?" in (run / "report.html").read_text()
