"""plan.json: what is written, and reading it back."""

import json
from pathlib import Path

from pydantic import ValidationError

from compress.errors import PlanError
from compress.plan.plan import FORMAT, VERSION, Plan


def plan_text(plan: Plan) -> str:
    """What plan.json holds; equal plans are equal text."""
    return json.dumps(plan.to_json(), indent=1) + "\n"


def read_plan(path: Path) -> Plan:
    """Read a plan back.

    Raises:
        PlanError: it is missing, damaged, or of another version.
    """
    where, fix = str(path), "run the recipe again: `compress run` writes it"
    try:
        doc = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PlanError("there is no such file", where, fix) from error
    except (OSError, ValueError, RecursionError) as error:
        raise PlanError(f"it cannot be read: {error}", where, fix) from error
    if not isinstance(doc, dict) or doc.get("format") != FORMAT:
        raise PlanError("it is no compress plan", where, fix)
    if doc.get("version") != VERSION:
        raise PlanError(f"plan version {doc.get('version')!r}, this compress reads {VERSION}", where, fix)
    try:
        return Plan.model_validate(doc)
    except ValidationError as error:
        first = error.errors()[0]
        raise PlanError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", where, fix) from error
