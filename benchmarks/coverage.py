"""How often the 95 % intervals of `compress compare` cover the truth, over simulated comparisons.

    python benchmarks/coverage.py [--comparisons 1000] [--out benchmarks/results/coverage.json]

Each simulated comparison draws n test examples; two files are right or wrong on each with known probabilities, so the
true difference in accuracy is known. Counted: intervals that hold it, and McNemar tests that claim a difference where
there is none (5 % is the level; the exact test is known to stay below it).
"""

import argparse
import json
from pathlib import Path

import numpy as np

from compress.benchmark.host import host_facts
from compress.evaluate.paired import difference_interval, mcnemar

# (examples, share lost, share gained): small and large test sets, no difference and small and large ones
CASES = [(200, 0.02, 0.02), (1000, 0.01, 0.01), (1000, 0.02, 0.01), (1000, 0.05, 0.02), (10_000, 0.008, 0.006),
         (10_000, 0.03, 0.01), (500, 0.10, 0.10), (2000, 0.002, 0.002)]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/coverage.json"))
    args = parser.parse_args()
    rows = []
    for case, (n, lost, gained) in enumerate(CASES):
        rng = np.random.default_rng(case)
        covered = claimed = 0
        for seed in range(args.comparisons):
            down, up, _ = rng.multinomial(n, (lost, gained, 1 - lost - gained))
            low, high = difference_interval(int(down), int(up), n, seed=seed)
            covered += low <= gained - lost <= high
            claimed += mcnemar(int(down), int(up)) < 0.05
        row = {"examples": n, "lost": lost, "gained": gained, "covered": covered / args.comparisons,
               "claims_a_difference": claimed / args.comparisons}  # fmt: skip
        rows.append(row)
        print(row, flush=True)
    overall = float(np.mean([r["covered"] for r in rows]))
    print(f"all cases: {overall:.4f}")
    doc = {
        "script": "benchmarks/coverage.py",
        "comparisons_a_case": args.comparisons,
        "covered": overall,
        "cases": rows,
        "host": host_facts(),
    }
    args.out.write_text(json.dumps(doc, indent=1) + "\n")


if __name__ == "__main__":
    main()
