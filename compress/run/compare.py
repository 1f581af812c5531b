"""The shipped file against the teacher's, in depth, and the predictions that later comparisons read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from edge_runtime.quiet import without_engine_notice

from compress.benchmark.host import host_facts
from compress.compare.conditions import conditions_of
from compress.comparison import Comparison, InvarianceRow
from compress.run import record
from compress.run.answers import exported, load_logits
from compress.run.cache import make_key
from compress.run.walk import File, Walk

VERSION = 3  # of the comparison: raise it when the same logits give other rows


def compare_shipped(walk: Walk, files: list[File], shipped: str) -> Comparison | None:
    """The comparison of a run, from the cache where nothing changed; None where the teacher itself ships."""
    first, this = files[0], next(f for f in files if f.plan.id == shipped)
    logits = {f.plan.id: exported(walk, f) for f in files}
    _keep_predictions(walk, {k: e.folder for k, e in logits.items()})
    if this is first:
        return None
    recipe = walk.recipe
    config = {
        "names": [first.plan.id, this.plan.id],
        "invariance": recipe.invariance.model_dump(mode="json") if recipe.invariance else None,
        "costs": recipe.costs,
        "slices": [s.model_dump(mode="json") for s in recipe.slices],
        "sensitive": recipe.sensitive,
        "attribution": recipe.attribution.model_dump(mode="json") if recipe.attribution else None,
    }
    inputs = {
        "before": logits[first.plan.id].record["digest"],
        "after": logits[this.plan.id].record["digest"],
        "before file": first.sha256,
        "after file": this.sha256,
        "data": walk.handle.fingerprint,
    }
    tools = record.versions(record.ENGINES[first.plan.format]) | record.versions(record.ENGINES[this.plan.format])
    tools["cpu"] = str(host_facts()["cpu"])
    key = make_key("compare", config, version=VERSION, inputs=inputs, seed=recipe.seed, tools=tools)

    def write(folder: Path, progress: Any) -> Mapping[str, Any]:
        from compress.evaluate.contrast import contrast, invariances
        from compress.evaluate.predict import logits_of

        test, names = walk.data.test, (first.plan.id, this.plan.id)
        pair = tuple(load_logits(logits[n].folder)["test"] for n in names)
        rows: tuple[InvarianceRow, ...] = ()
        if wanted := recipe.invariance:
            n = wanted.examples

            def answers(examples: Any) -> Any:
                with without_engine_notice():
                    return logits_of(first.folder, examples), logits_of(this.folder, examples)

            strengths = {str(k): v for k, v in wanted.transformations.items()}
            rows = invariances(strengths, wanted.swaps, (pair[0][:n], pair[1][:n]),
                               test.y[:n], test.x[:n], answers, recipe.seed, recipe.task)  # fmt: skip
        matrix = None if recipe.costs is None else np.array(recipe.costs, np.float64)
        found = contrast(names, (pair[0], pair[1]), test.y, test.x, walk.data.classes, columns=test.columns,
                         conditions=conditions_of(recipe), sensitive=recipe.sensitive, cost_matrix=matrix, rows=rows,
                         seed=recipe.seed, task=recipe.task)  # fmt: skip
        if how := recipe.attribution:
            from compress.evaluate.attribution import explain

            with without_engine_notice():
                told = explain(found.flips, test.x, walk.data.classes, (first.folder, this.folder), count=how.examples,
                               permutations=how.permutations, seed=recipe.seed, task=recipe.task)  # fmt: skip
            found = found.model_copy(update={"flips": told})
        (folder / "comparison.json").write_text(found.model_dump_json())
        return {}

    entry = walk.recorder.step("compare", "compare", key, write, lambda _: f"{shipped} with the teacher, in depth")
    return Comparison.model_validate_json((entry.folder / "comparison.json").read_bytes())


def _keep_predictions(walk: Walk, folders: Mapping[str, Path]) -> None:
    """predictions/<artefact>.npy: test logits, float32 (n, classes), and labels.npy, for `compress compare`."""
    inputs = {"data": walk.handle.fingerprint}
    key = make_key("labels", {}, version=1, inputs=inputs, seed=walk.recipe.seed, tools={})

    def write(folder: Path, progress: Any) -> Mapping[str, Any]:
        np.save(folder / "labels.npy", walk.data.test.y, allow_pickle=False)
        return {}

    labels = walk.recorder.step("labels", "evaluate", key, write, shown=False).folder / "labels.npy"
    files = {f"{name}.npy": source / "test.npy" for name, source in folders.items()}
    walk.folder.place_files({**files, "labels.npy": labels}, "predictions")
