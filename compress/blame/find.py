"""From a run's artefact to its blame, and from blame to a recipe that mends it."""

from pathlib import Path
from typing import Any

import yaml

from compress.blame.blame import blame
from compress.blame.weigh import Progress
from compress.blamed import Blame
from compress.compare.sides import Found
from compress.errors import DataError, UsageError
from compress.model.checkpoint import load_checkpoint
from compress.recipe.load import recipe_from_json
from compress.stages.texts import fit_data
from compress.tokenized import open_for

INT8 = ("int8", "dynamic-int8")


def blame_artefact(found: Found, examples: int, progress: Progress, *, timing: bool) -> Blame:
    """Blame one artefact of a run, from its file, its step's checkpoint and the recipe's data.

    Raises:
        UsageError: it is no int8 file.
        DataError: the data is no longer what the run read.
    """
    artefact = found.artefact
    if artefact.precision not in INT8:
        ids = ", ".join(a.id for a in found.result.artefacts if a.precision in INT8) or "it has none"
        raise UsageError(f"it is {artefact.precision}, not int8", artefact.id, f"int8 files of this run: {ids}")
    recipe = recipe_from_json(found.result.recipe, str(found.folder / "result.json"))
    data = open_for(recipe).load()
    if data.fingerprint != found.result.data.fingerprint:
        raise DataError("the data has changed since the run", data.name, "run the recipe again")
    path = found.folder / artefact.path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"it cannot be read: {error.strerror}", str(path), "run the recipe again") from error
    model = load_checkpoint(found.folder / "checkpoints" / artefact.step)
    return blame(content, artefact.format, model, fit_data(data, model), name=found.result.name, artefact=artefact.id,
                 task=recipe.task, examples=examples, timing=timing, progress=progress)  # fmt: skip


def write_fix(found: Found, blamed: Blame, path: Path) -> None:
    """Write the run's recipe with the blamed layers kept in float.

    Raises:
        UsageError: there is nothing to mend, or the recipe has no quantize stage.
    """
    if blamed.plan is None:
        raise UsageError("there is no layer to put back to float", blamed.artefact, blamed.advice[-1])
    recipe = recipe_from_json(found.result.recipe, str(path))
    doc: dict[str, Any] = recipe.model_dump(mode="json", exclude_defaults=True)  # as a person would write it
    doc["stages"] = [{s.kind: s.model_dump(mode="json", exclude_defaults=True)} for s in recipe.stages]
    stages = [s["quantize"] for s in doc.get("stages", ()) if "quantize" in s]
    if not stages:
        raise UsageError("the recipe has no quantize stage", found.result.name, "blame the run that quantized")
    if blamed.plan.keep_float:
        stages[-1]["keep_float"] = [*stages[-1].get("keep_float", ()), *blamed.plan.keep_float]
    if blamed.plan.regrid:
        stages[-1].pop("percentile", None)
        stages[-1]["calibration"] = "minmax"
    doc["name"] = f"{doc['name'][:56]}-mended"
    about = f"# {found.result.name}, mended by what `compress blame` found in {blamed.artefact}.\n"

    path.write_text(about + yaml.safe_dump(doc, sort_keys=False))
