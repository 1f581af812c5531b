"""What `compress quantize --dry-run` prints: the graph, where its time goes, and the recipe that would run."""

from typing import Any

from compress.given_onnx.opened import Opened

MOST_LAYERS = 40


def render(opened: Opened) -> Any:
    """A rich renderable."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    analysis, recipe, prepared = opened.analysis, opened.recipe, opened.prepared
    counts = {"calibrate": opened.parts.calibration, "choose": opened.parts.selection, "judge": opened.parts.test}
    lines = [
        f"{opened.given.name}: {analysis.kind}, opset {prepared.opset}, {opened.given.size_bytes:,} bytes",
        f"takes {', '.join(map(str, prepared.signature.inputs))}",
        f"gives {', '.join(map(str, prepared.signature.outputs))}",
        *(f"brought up to date: {note}" for note in prepared.notes),
        *opened.lean.changes(),
        "time of the float file: " + ", ".join(f"{k} {v:.0%}" for k, v in list(analysis.time_share.items())[:6]),
        f"examples: {', '.join(f'{len(v)} {k}' for k, v in counts.items())}",
        f"outputs judged as {opened.judge.kind}: {opened.judge.why}",
    ]
    layers = Table(title="layers", title_justify="left")
    for head in ("layer", "operator", "parameters", "MACs", "note"):
        layers.add_column(head, justify="right" if head in ("parameters", "MACs") else "left")
    for layer in analysis.layers[:MOST_LAYERS]:
        kept = next((c.keep_float[layer.name] for c in recipe.candidates if layer.name in c.keep_float), "")
        note = f"float: inside {layer.inside.split()[0]}" if layer.inside else kept
        layers.add_row(
            Text(layer.name), layer.op, f"{layer.parameters:,}", f"{layer.macs:,}" if layer.macs else "?", note
        )
    if len(analysis.layers) > MOST_LAYERS:
        layers.add_row(f"... and {len(analysis.layers) - MOST_LAYERS} more", "", "", "", "")
    plan = [Text(f"\nrecipe for {recipe.target}", style="bold")]
    for number, candidate in enumerate(recipe.candidates, start=1):
        ranges = "ranges found while running" if candidate.how == "dynamic" else f"{recipe.calibration} ranges"
        weights = f"int8 weights per output channel, {recipe.weight_bits} bits"
        present = [o for o in candidate.operators if o in analysis.operators]
        plan.append(Text(f"{number}. {candidate.name}: uint8 activations, {ranges}; {weights}"))
        plan.append(Text(f"   operators: {', '.join(present)}"))
        plan.append(Text(f"   because {candidate.reason}", style="dim"))
    reasons = [Text(f"{key.replace('_', ' ')}: {why}", style="dim") for key, why in recipe.reasons.items()]
    end = Text("every file is timed against the float one; the fastest that keeps the limits ships", style="dim")
    return Group(*(Text(line) for line in lines), layers, *plan, *reasons, end)
