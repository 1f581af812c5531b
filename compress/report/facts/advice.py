"""What to do next, from what a run found. Commands stand between backticks."""

from compress.report.facts.rows import Row
from compress.report.facts.verdict import SIGNIFICANT, breaches
from compress.result import Result

MOST = 3


def advice(result: Result, shipped: Row, folder: str) -> tuple[str, ...]:
    """A few sentences, the most urgent first. folder: the run's, as a reader has to type it."""
    if result.smoke:
        return ("Run the recipe without `--smoke`.",)
    if shipped.is_teacher:
        return ("Add a student or a stage to the recipe: as it stands it makes nothing but the teacher.",)
    bundle = "bundle" if folder == "." else f"{folder}/bundle"
    integer, paired = shipped.artefact.precision != "float32", shipped.artefact.paired
    out = []
    if breaches(result):
        out.append("Do not use the file yet: a conversion changed its answers; the parity ledger shows which.")
    missed = {"accuracy" if b.unit == "points" and b.name.startswith("accuracy") else b.name.split()[0]
              for b in result.budget if not b.ok}  # fmt: skip
    worse = paired is not None and paired.p_value < SIGNIFICANT and paired.difference_points < 0
    if "accuracy" in missed or worse:
        out.append(
            f"`compress blame {folder}` names the layers that cost accuracy, and what keeping them in float would take."
            if integer and _int8_cost_most(result, shipped)
            else "Train the student longer (`epochs`) or prune it less (`keep_macs`) to win accuracy back."
        )
    if "size" in missed:
        out.append("Prune more (`keep_macs`) or take a smaller student to save bytes.")
    if "latency" in missed:
        out.append(f"`compress measure {folder} --profile-operators` shows which operators take the time.")
    if "consistency" in missed:
        out.append("Train with the transformations it fails under (`data.augment`).")
    if shipped.latency and shipped.latency.warnings:
        out.append(f"`compress measure {folder}` times the bundle again; do it on a quiet machine.")
    if not missed and not breaches(result):
        out.append(f"Try it where it will run: copy `{bundle}` there, then `edge-runtime check bundle`.")
    here = (
        ["Type commands in the folder of this report."] if folder == "." and any("`compress" in o for o in out) else []
    )
    return (*out[:MOST], *here)


def _int8_cost_most(result: Result, shipped: Row) -> bool:
    """Whether at least half of what was lost went with int8, and not with the smaller float model before it."""
    lost = shipped.artefact.paired.difference_points if shipped.artefact.paired else 0.0
    before = [
        a.paired.difference_points
        for a in result.artefacts
        if a.paired is not None and a.precision == "float32" and a.step != shipped.artefact.step
    ]
    return lost - (before[-1] if before else 0.0) <= lost / 2
