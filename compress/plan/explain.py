"""A plan as a terminal page: the steps, each layer's treatment, why layers are left alone, the size along the way."""

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from compress.plan.layers import LayerPlan, Treatment
from compress.plan.plan import NetFacts, Plan
from compress.plan.steps import percent
from compress.plan.target import CLAIMS, load_target

_STYLES = {
    **dict.fromkeys(("narrowed", "zeroed", "trimmed"), "cyan"),
    "int8": "green",
    "int7": "green",
    "kept": "yellow",
    "trained": "dim",
}


def render(plan: Plan) -> RenderableType:
    """The whole plan, for a console of 80 columns or more."""
    parts: list[RenderableType] = [_head(plan), _steps(plan)]
    if plan.layers:
        parts.append(_Layers(plan))
        if kept := _left_alone(plan.layers):
            parts.append(_section("Left alone", kept))
        parts.append(_sizes(plan))
    if target := _target(plan):
        parts.append(target)
    parts += [Text(f"note: {note}") for note in plan.notes]
    return Group(*parts)


def amount(number: int) -> str:
    """A count in at most five characters: 940, 18.2k, 1.25M."""
    if number < 1000:
        return str(number)
    for unit, size in (("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)):
        if number < 999.5 * size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.2g}"


def _head(plan: Plan) -> Text:
    text = Text.assemble(("Plan ", "bold"), (plan.name, "bold cyan"), f"  target {plan.target}")
    if plan.input_shape is not None and plan.recipe["task"] == "text-classification":
        text.append(f"  input texts of up to {plan.input_shape[0]} tokens")
    elif plan.input_shape is not None:
        text.append(f"  input {'x'.join(map(str, plan.input_shape))}")
    if plan.classes is not None:
        text.append(f", {plan.classes} classes")
    if plan.teacher is not None:
        text.append(f"\nteacher  {_net(plan.teacher)}")
    if plan.student is not None and plan.recipe["student"] is not None:
        text.append(f"\nstudent  {_net(plan.student)}")
    text.append("\n")
    return text


def _net(net: NetFacts) -> str:
    return f"{net.name}: {net.layers} layers, {net.parameters:,} parameters, {amount(net.macs)} MACs"


def _table(*, header: bool = True) -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=header, header_style="dim")


def _section(title: str, table: Table, hint: str = "") -> RenderableType:
    return Group(Text.assemble((title, "bold"), (hint, "dim")), table, Text())


def _target(plan: Plan) -> RenderableType | None:
    """What the target says about integers, why, and where that was measured; nothing where nothing is quantized."""
    if not any(step.kind == "quantize" for step in plan.steps):
        return None
    profile, table = load_target(plan.target), _table(header=False)
    table.add_column("claim", no_wrap=True, style="dim")
    table.add_column("why")
    for claim in CLAIMS:
        table.add_row(claim.replace("_", " "), escape(profile.claim(claim)))
    return _section(f"Target {plan.target}", table)


def _steps(plan: Plan) -> RenderableType:
    table = _table()
    table.add_column("step", no_wrap=True)
    table.add_column("what it does")
    exports = [s for s in plan.steps if s.kind == "export"]
    for step in plan.steps:
        if step.kind != "export":
            table.add_row(step.name, escape(step.description))
        elif step is exports[0]:
            table.add_row("export", escape(", ".join(s.name for s in exports)))
    return _section("Steps", table)


def _shown_steps(plan: Plan) -> list[str]:
    """The steps that treat layers differently; training touches all alike and would only fill a column."""
    order = dict.fromkeys(t.step for layer in plan.layers for t in layer.treatments if t.action != "trained")
    return list(order)


class _Layers:
    """The layer table; on a narrow console it goes without the output's shape, then without the kind."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = _layers(self.plan, ())
        for without in (("output",), ("output", "kind")):
            if console.measure(table, options=options.update(max_width=1000)).maximum <= options.max_width:
                break
            table = _layers(self.plan, without)
        yield _section("Layers", table)


def _layers(plan: Plan, without: tuple[str, ...]) -> Table:
    table = _table()
    steps = _shown_steps(plan)
    for name in ("layer", "kind", "output", "params", "MACs", *steps):
        if name not in without:
            table.add_column(name, justify="right" if name in ("params", "MACs") else "left", no_wrap=True)
    for layer in plan.layers:
        by_step = {t.step: t for t in layer.treatments}
        texts: dict[str, str | Text] = {
            "layer": layer.name,
            "kind": layer.kind,
            "output": "x".join(map(str, layer.shape)),
            "params": amount(layer.parameters),
            "MACs": amount(layer.macs),
        }
        cells = [_cell(by_step[s]) for s in steps]
        table.add_row(*(text for name, text in texts.items() if name not in without), *cells)
    return table


def _cell(treatment: Treatment) -> Text:
    text: str = treatment.action
    if treatment.channels is not None:
        text = f"{treatment.channels[0]} → ~{treatment.channels[1]}"
    elif treatment.share is not None:
        text = f"{percent(treatment.share)} zeros"
    return Text(text, style=_STYLES[treatment.action])


def _left_alone(layers: tuple[LayerPlan, ...]) -> Table | None:
    reasons: dict[tuple[str, str], list[str]] = {}
    for layer in layers:
        for t in layer.treatments:
            if t.action == "kept":
                reasons.setdefault((t.step, t.detail), []).append(layer.name)
    if not reasons:
        return None
    table = _table(header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for (step, reason), names in sorted(reasons.items(), key=lambda item: item[0][0]):
        table.add_row(step, f"{_some(names)}: {escape(reason)}")
    return table


def _some(names: list[str]) -> str:
    """A few names, and how many more there are; the layer table shows which."""
    return ", ".join(names) if len(names) <= 5 else f"{', '.join(names[:4])} and {len(names) - 4} more"


def _sizes(plan: Plan) -> RenderableType:
    table = _table()
    table.add_column("after", no_wrap=True)
    for name in ("parameters", "MACs", "bytes"):
        table.add_column(name, justify="right", no_wrap=True)
    shown = None
    for e in plan.estimates:
        row = (e.parameters, e.macs, e.weight_bytes)
        if row == shown:
            continue
        about = "" if e.exact else "~"
        table.add_row(e.step, f"{about}{e.parameters:,}", f"{about}{e.macs:,}", f"{about}{e.weight_bytes:,}")
        shown = row
    return _section("Size along the way", table, "  weights and biases alone; ~ assumes an even cut")
