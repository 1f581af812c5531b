"""Hold recipes to their reference metrics: a change that moves a number must move benchmarks/reference.yaml too.

    python benchmarks/reference.py [--quick] [--cache DIR] [--only NAME ...] [--write]

Runs each recipe (--quick: those without training) and compares accuracy on the test split, size and integer kernels of
its files with the references. Exit 1 where one moved beyond its tolerance. --write records today's values instead.
Timings are no references: they depend on the machine and its load, and every run judges its own against its teacher.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from compress.result import Result, load_result

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "benchmarks" / "reference.yaml"


def metrics(result: Result) -> dict[str, dict[str, float]]:
    """Of every exported file: what a reference can hold it to."""
    out = {}
    for artefact in result.artefacts:
        test = next(a for a in artefact.accuracy if a.split == "test")
        out[artefact.id] = {
            "test_top1": test.top1,
            "size_bytes": artefact.size_bytes,
            "integer_kernels": artefact.kernels.get("integer", 0),
        }
    return out


def moved(reference: dict[str, Any], found: dict[str, dict[str, float]]) -> list[str]:
    """Every metric that is off its reference by more than the recipe's tolerance, and every file that came or went."""
    tolerance, files = reference["tolerance"], reference["files"]
    out = [f"{name}: no such file any more" for name in files if name not in found]
    out += [f"{name}: a new file without reference" for name in found if name not in files]
    for name in files:
        for metric, want in files[name].items():
            got, allowed = found.get(name, {}).get(metric), tolerance[metric]
            if got is not None and abs(got - want) > allowed + 1e-9:
                out.append(f"{name}: {metric} is {got:g}, the reference is {want:g} (tolerance {allowed:g})")
    return out


def run(recipe: Path, cache: Path | None, folder: Path) -> Result:
    command = [sys.executable, "-m", "compress", "run", str(recipe), "--out", str(folder), "--quiet"]
    command += ["--cache", str(cache)] if cache else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode not in (0, 3):
        sys.exit(f"{recipe} failed with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return load_result(folder / "result.json")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    doc = yaml.safe_load(REFERENCE.read_text())
    problems = []
    for name, reference in doc["recipes"].items():
        if (args.quick and not reference["quick"]) or (args.only and name not in args.only):
            continue
        with tempfile.TemporaryDirectory() as scratch:
            found = metrics(run(ROOT / reference["recipe"], args.cache, Path(scratch) / name))
        if args.write:
            reference["files"] = found
            continue
        off = moved(reference, found)
        print(f"{name}: {'as the reference' if not off else f'{len(off)} moved'}")
        problems += [f"  {name}: {line}" for line in off]
    if args.write:
        head = REFERENCE.read_text().split("recipes:")[0]
        REFERENCE.write_text(head + yaml.safe_dump({"recipes": doc["recipes"]}, sort_keys=False))
        return 0
    if problems:
        print("\n".join(problems))
        print(f"if this is meant, write it down: python benchmarks/reference.py --write (in {REFERENCE.name})")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
