"""The tasks: a recipe each, a finished run of it, and the files that every tool is handed.

A comparison starts from one float model of the run. `student`: the float model that our chain quantizes last, so that
quantizers are compared with quantizers. `teacher`: the model a user comes with, so that chains are compared with what
other tools make of the same model.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compress.data.dataset import Dataset, Split
from compress.data.sources import open_data
from compress.model.checkpoint import load_checkpoint
from compress.model.model import Model
from compress.recipe.load import load_recipe
from compress.recipe.schema import Recipe
from compress.stages.texts import fit_data, is_text
from compress.tokenized import TokenizedHandle

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Task:
    """title, why: for readers. student, teacher, chain: steps of the run.

    qat: how the student is trained to be quantized, where the chain's last step does not do that.
    """

    title: str
    recipe: str
    student: str
    chain: str
    overrides: tuple[str, ...] = ()
    teacher: str = "00-teacher"
    qat: dict[str, Any] | None = None
    why: str = ""


TASKS = {
    "residual": Task(
        "MNIST-5k, ResNet-8",
        "recipes/distil_int8.yaml",
        student="00-teacher",
        chain="03-quantize",
        overrides=("teacher={checkpoint: recipes/models/mnist_resnet8}",),
        qat={"how": "qat", "epochs": 6},
        why="The teacher is the committed ResNet-8 of 77,754 parameters, which is the student too: what quantizers "
        "are given is what the chain distils from.",
    ),
    "fashion": Task(
        "Fashion-MNIST CNN",
        "recipes/fashion_mnist_int8.yaml",
        student="02-prune",
        chain="03-quantize",
        why="The student is the distilled and pruned CNN in float; the teacher a ResNet-9 of 1.87 million parameters.",
    ),
    "sensor": Task(
        "Sensor gestures",
        "recipes/sensor_gestures_int8.yaml",
        student="02-prune",
        chain="03-quantize",
        overrides=("seed=3",),
        why="Seed 3 draws the first split by person that the recipe's settings were not chosen on.",
    ),
    "sentiment": Task(
        "MiniLM sentiment",
        "recipes/text_sentiment_int8.yaml",
        student="03-prune",
        chain="04-quantize",
        why="The student has 3 layers, half the heads and a smaller vocabulary; the teacher is the fine-tuned MiniLM.",
    ),
}
COMPARISONS = ("student", "teacher")


@dataclass(frozen=True)
class Kit:
    """One float model and the data, on disk and in hand. timed: which test example is timed.

    data: as the model reads it, of texts with the model's own vocabulary. as_read: what stages are handed.
    """

    folder: Path
    model: Model
    data: Dataset
    as_read: Dataset
    recipe: Recipe
    run: Path
    timed: int


def finished_run(task: Task, folder: Path, cache: Path) -> Path:
    """Run the recipe, or find its result; a run over the recipe's own budget is a result too."""
    if (folder / "result.json").exists():
        return folder
    command = [sys.executable, "-m", "compress", "run", str(ROOT / task.recipe), "--out", str(folder)]
    for one in task.overrides:
        command += ["--set", one]
    done = subprocess.run([*command, "--cache", str(cache), "--quiet"], cwd=ROOT, check=False)
    if done.returncode not in (0, 3):
        sys.exit(f"{task.recipe} failed with {done.returncode}")
    return folder


def make_kit(task: Task, comparison: str, run: Path, folder: Path) -> Kit:
    """Write the float model in every form and the splits as arrays."""
    from compress.export.onnx import to_onnx
    from compress.export.tflite import to_tflite
    from compress.model.rewrite import fold_batch_norm

    recipe = load_recipe(ROOT / task.recipe, list(task.overrides))
    handle = open_data(recipe.data, recipe.seed, recipe.task)
    texts = recipe.task == "text-classification"
    as_read = (TokenizedHandle(handle, recipe) if texts else handle).load()
    model = load_checkpoint(run / "checkpoints" / getattr(task, comparison))
    data = fit_data(as_read, model)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "float.onnx").write_bytes(to_onnx(model, name="model"))
    (folder / "float.tflite").write_bytes(to_tflite(model, name="model", lengths=lengths_of(data)))
    for name in ("calibration", "validation", "test"):
        write_split(folder / f"{name}.npz", data, getattr(data, name), labels=name == "validation")
    timed = write_example(folder)
    write_program(folder, fold_batch_norm(model))
    return Kit(folder, model, data, as_read, recipe, run, timed)


def lengths_of(data: Dataset) -> tuple[int, ...]:
    """Of texts the numbers of tokens that a TFLite file has signatures for."""
    return tuple(data.preprocessing.lengths) if is_text(data) else ()


def write_split(path: Path, data: Dataset, split: Split, *, labels: bool) -> None:
    """x, and for texts how many tokens of each row are its bucket. Labels of test data stay here."""
    arrays = {"x": data.inputs(split)}
    if is_text(data):
        buckets = sorted(data.preprocessing.lengths)
        real = (arrays["x"] != data.preprocessing.pad_id).sum(1)
        arrays["lengths"] = np.array([next(b for b in buckets if b >= n) for n in real])
    np.savez(path, **arrays, **({"y": split.y} if labels else {}))


def write_example(folder: Path, at: int | None = None) -> int:
    """What is timed: the first test example, of texts the first one of median length, or the one at this place."""
    with np.load(folder / "test.npz") as test:
        if at is None:
            lengths = test.get("lengths", np.zeros(1))
            at = int(np.flatnonzero(lengths == np.sort(lengths)[len(lengths) // 2])[0])
        np.savez(folder / "example.npz", **{k: v[at : at + 1] for k, v in test.items()})
    return at


def write_inputs(kit: Kit, model: Model, folder: Path) -> Path:
    """The same test texts, and the one that is timed, as a model with a vocabulary of its own reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    data = fit_data(kit.as_read, model)
    write_split(folder / "test.npz", data, data.test, labels=False)
    write_example(folder, kit.timed)
    return folder


def write_program(folder: Path, model: Model) -> None:
    """The float model as a torch.export program: batch 1, texts of free length."""
    import torch

    from compress.model.module import GraphModule

    with np.load(folder / "example.npz") as example:
        x = example["x"][:, : example["lengths"][0]] if "lengths" in example else example["x"]
        shapes = ({1: torch.export.Dim.AUTO},) if "lengths" in example else None
    given = torch.from_numpy(np.ascontiguousarray(x))
    with torch.no_grad():
        program = torch.export.export(GraphModule(model).eval(), (given,), dynamic_shapes=shapes)
    torch.export.save(program, folder / "float.pt2")
