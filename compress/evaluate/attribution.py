"""What spoke for the answer: Shapley values of the parts of examples whose answer changed, through the exported files.

By Captum (ShapleyValueSampling), which sees a file as a function: parts present -> how far the file leans towards the
answer given before over the one given after. Nothing of the file's inside is needed, so what ships is explained.
Sources: Strumbelj and Kononenko 2010, JMLR 11, 1-18; Castro et al. 2009, Comput. Oper. Res. 36(5), 1726-1730.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.comparison import Attribution, Flip
from compress.errors import MissingExtraError
from compress.evaluate.calibration import log_softmax
from compress.evaluate.invariance import kind_of
from compress.evaluate.metrics import Logits
from compress.evaluate.parts import Parts, average_of, parts_of

AT_ONCE = 64  # perturbed examples a call
Ask = Callable[[Any], Logits]  # raw examples -> logits


def explain(
    flips: Sequence[Flip], examples: Any, classes: Sequence[str], bundles: tuple[Path, Path], *,
    count: int, permutations: int, seed: int = 0, task: str | None = None,
) -> tuple[Flip, ...]:  # fmt: skip
    """The flips, the first `count` with an attribution by both files (before, after).

    An example of n parts costs about n x permutations inferences by each file, n at most MOST_PARTS.

    Raises:
        MissingExtraError: Captum is not installed.
        EdgeError: a file does not run.
    """
    import edge_runtime

    average, kind = average_of(examples), kind_of(examples, task)
    number = {name: i for i, name in enumerate(classes)}
    with edge_runtime.load(bundles[0]) as before, edge_runtime.load(bundles[1]) as after:
        out = []
        for flip in flips[:count]:
            parts = parts_of(examples[flip.index], kind, average)
            towards = number[flip.before], number[flip.after]
            values = [shapley(m.logits, parts, towards, permutations, seed) for m in (before, after)]
            out.append(flip.model_copy(update={"attribution": _told(parts, values)}))
    return (*out, *flips[count:])


def shapley(ask: Ask, parts: Parts, towards: tuple[int, int], permutations: int, seed: int) -> NDArray[np.float64]:
    """How much each part moves ln p(towards[0]) - ln p(towards[1]); they sum to whole minus nothing present.

    Raises:
        MissingExtraError: Captum is not installed.
    """
    try:
        import torch
        from captum.attr import ShapleyValueSampling
    except ModuleNotFoundError as error:
        fix = 'pip install "compress-edge[attribution]", or leave `attribution` out'
        raise MissingExtraError(f"attribution needs {error.name}", "attribution", fix) from error

    def lean(present: "torch.Tensor") -> "torch.Tensor":
        p = log_softmax(ask(parts.without(present.numpy() > 0.5)))
        return torch.from_numpy(p[:, towards[0]] - p[:, towards[1]])

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        found = ShapleyValueSampling(lean).attribute(
            torch.ones(1, parts.count), baselines=0.0, n_samples=permutations,
            perturbations_per_eval=min(AT_ONCE, parts.count),
        )  # fmt: skip
    return np.asarray(found[0].numpy(), np.float64)


def _told(parts: Parts, values: Sequence[NDArray[np.float64]]) -> Attribution:
    before, after = (tuple(float(f"{v:.4g}") for v in row.tolist()) for row in values)
    return Attribution(kind=parts.kind, rows=parts.rows, columns=parts.columns, words=parts.labels,
                       before=before, after=after)  # fmt: skip
