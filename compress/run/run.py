"""Run a recipe: walk the steps, decide what ships, and leave a run folder with the evidence."""

import hashlib
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from compress.errors import BudgetMissedError, ParityError
from compress.evaluate.select import budget_rows, consistency_row, select
from compress.evaluate.steps import data_flags, step_flags
from compress.plan.file import plan_text
from compress.plan.plan import make_plan
from compress.plan.target import load_target
from compress.recipe.schema import Recipe
from compress.report.build import write_reports
from compress.report.text.terminal import render
from compress.result import Result, save_result
from compress.run import record
from compress.run.answers import evidence_of
from compress.run.assemble import artefact_row, data_facts
from compress.run.cache import Cache
from compress.run.compare import compare_shipped
from compress.run.folder import RunFolder
from compress.run.measure import measure
from compress.run.progress import Display
from compress.run.walk import Walk
from compress.run.world import World

_PARITY_FIX = (
    "the report shows every hop; leave the layers you suspect in float with quantize.keep_float, or report the net"
)


def default_cache() -> Path:
    """$XDG_CACHE_HOME/compress, or ~/.cache/compress."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "compress"


def run_recipe(
    recipe: Recipe, *, out: Path | None, cache_root: Path | None, smoke: bool, quiet: bool, console: Console
) -> Result | None:
    """Run everything and print the table. Other ranks of a torchrun return None after the training.

    Raises:
        CompressError: a step failed; what was finished is in the cache and in the run folder.
        ParityError: an exported file strayed from its model. The report is written and names the hop.
        BudgetMissedError: everything is written, the bundle too, but the result is over budget.
    """
    started, begun = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    world = World()
    display = Display(console, quiet=quiet or not world.main)
    cache = Cache(cache_root or default_cache(), display.warn)
    folder = RunFolder(out or Path("runs") / (f"{recipe.name}-smoke" if smoke else recipe.name))
    walk = Walk(recipe, make_plan(recipe), cache, folder, display, world)
    if not world.main:
        walk.models()
        world.close()
        return None
    with folder.held():
        result = _walked(walk, started, begun, smoke=smoke)
    console.print(render(result, folder.root))
    console.print(
        f"report  {folder.root / 'report.html'}\nbundle  {folder.root / 'bundle'}", highlight=False, soft_wrap=True
    )
    _judge(result)
    return result


def _walked(walk: Walk, started: str, begun: float, *, smoke: bool) -> Result:
    """Every step, and the run folder with what came of them. started: when, ISO 8601; begun: by time.perf_counter."""
    recipe = walk.recipe
    walk.folder.write_text("plan.json", plan_text(walk.plan))
    steps = walk.models()
    walk.world.close()
    walk.folder.keep_only("checkpoints", {s.name for s in steps})
    files = walk.files(steps)
    walk.folder.keep_only("artefacts", {f.plan.id for f in files})
    evidence = evidence_of(walk, steps, files)
    measured = measure(walk, files)
    artefacts = tuple(artefact_row(f, steps, evidence, measured.latency) for f in files)
    strays = {h.target for h in evidence.ledger if not h.ok}
    engines = load_target(recipe.target).formats  # what the device cannot run is compared, but does not ship
    ready = {a.id for a in artefacts if a.id not in strays and a.format in engines}
    ready.add(artefacts[0].id)  # the teacher is the measure of all
    choice = select([a for a in artefacts if a.id in ready], recipe.budget, allow_slower=recipe.allow_slower)
    bundle = walk.bundle([f for f in files if f.plan.id in ready], choice.id, steps)
    comparison = compare_shipped(walk, files, choice.id)
    budget = budget_rows(artefacts, choice.id, recipe.budget, allow_slower=recipe.allow_slower)
    if comparison and (row := consistency_row(comparison, recipe.budget)):
        budget = (*budget, row)
    result = Result(
        name=recipe.name,
        recipe=recipe.model_dump(mode="json"),
        recipe_digest=hashlib.sha256(recipe.model_dump_json().encode()).hexdigest(),
        seed=recipe.seed,
        started=started,
        seconds=round(max(time.perf_counter() - begun, sum(r.seconds for r in walk.recorder.rows)), 2),
        versions=record.versions(record.SHOWN),
        host=measured.host,
        devices=measured.devices,
        data=(facts := data_facts(walk)),
        steps=tuple(walk.recorder.rows),
        artefacts=artefacts,
        ledger=evidence.ledger,
        budget=budget,
        shipped=choice.id,
        shipped_reason=choice.reason,
        flags=(*(() if smoke else data_flags(artefacts[0], facts.classes)), *step_flags(artefacts)),
        smoke=smoke,
        comparison=comparison,
    )
    _publish(walk, bundle, result)
    return result


def _judge(result: Result) -> None:
    """Raise what a finished run is to fail with, as of run_recipe."""
    if hop := next((h for h in result.ledger if not h.ok), None):
        raise ParityError(f"{hop.source} and {hop.target} disagree: {hop.reason}", f"hop {hop.name!r}", _PARITY_FIX)
    if missed := [b for b in result.budget if not b.ok]:
        what = "; ".join(f"{b.name} is {_figure(b.value)} {b.unit}, the limit is {_figure(b.limit)}" for b in missed)
        blame = next((b.blame for b in missed if b.blame), "")
        fix = f"{blame + '; ' if blame else ''}the bundle is saved all the same; see the report for what each step cost"
        raise BudgetMissedError(f"over budget: {what}", result.name, fix)


def _figure(value: float) -> str:
    """60,000 and 1.234, never 6e+04.

    >>> _figure(60000.0), _figure(1.2344)
    ('60,000', '1.234')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _publish(walk: Walk, bundle: Path, result: Result) -> None:
    """Bundle, result, reports and record, in this order: a result never names a bundle that is not there."""
    walk.folder.place(bundle, "bundle")
    save_result(walk.folder.root / "result.json", result)
    write_reports(result, walk.folder.root)
    ran = ("recipe", "recipe_digest", "seed", "started", "seconds", "versions", "host", "data", "steps", "shipped")
    doc = result.model_dump(mode="json", include=set(ran))
    doc["artefacts"] = {a.id: a.sha256 for a in result.artefacts}
    walk.folder.write_text("run.json", json.dumps(doc, indent=1) + "\n")
