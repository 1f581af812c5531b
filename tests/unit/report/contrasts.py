"""Comparisons to draw pages from: computed by compress.evaluate, but from made-up logits."""

import numpy as np

from compress.comparison import Attribution
from compress.evaluate.contrast import contrast, invariances

NASTY = "<script>alert('x')</script>\x1b[31m\u202e\"' onload=\"alert(1)"


def logits(seed, n, classes, skill):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    out = rng.normal(0, 1, (n, classes)).astype(np.float32)
    out[np.arange(n), y] += skill
    return out, y


def made(examples, classes=4, n=60, *, names=("teacher.onnx", "int8.onnx"), rows=True, **more):
    """A comparison of two made-up files; the second one is worse."""
    before, y = logits(1, n, classes, 3.0)
    after = before + np.random.default_rng(2).normal(0, 1.2, before.shape).astype(np.float32)
    wanted = {"shift": (1.0, 2.0), "noise": (0.1,)} if isinstance(examples, np.ndarray) else {"typos": (0.1, 0.5)}

    def answers(changed):
        noise = np.random.default_rng(3).normal(0, 0.7, before.shape).astype(np.float32)
        return before + noise / 3, after + noise

    found = invariances(wanted, (), (before, after), y, examples, answers) if rows else ()
    labels = more.pop("labels", tuple(f"class {i}" for i in range(classes)))
    return contrast(names, (before, after), y, examples, labels, rows=found, **more)


def images():
    return made(np.random.default_rng(0).integers(0, 256, (60, 12, 12)).astype(np.uint8))


def windows():
    return made(np.random.default_rng(0).normal(size=(60, 50, 3)).astype(np.float32), rows=False)


def texts():
    return made([f"sentence {i} of a film review" for i in range(60)])


def grouped():
    """A group that compression harms, in a column with three."""
    return made([f"sentence {i}" for i in range(600)], classes=2, n=600, rows=False, labels=("no", "yes"),
                columns={"site": ["north", "south", "east"] * 200}, sensitive=["site"])  # fmt: skip


def explained():
    """Groups, slices and two flips with what spoke for their answers, as a page shows them."""
    c = images()
    told = Attribution(kind="patches", rows=2, columns=2, before=(0.5, -0.2, 0.0, 1.0), after=(0.1, -0.9, 0.3, 0.0))
    flips = (c.flips[0].model_copy(update={"attribution": told}), *c.flips[1:])
    g = grouped()
    return c.model_copy(update={"flips": flips, "groups": g.groups, "gaps": g.gaps, "classes": ("no", "yes", "c", "d"),
                                "notes": ("Slice 'x' holds 3 test examples.",)})  # fmt: skip


def hostile():
    return made(
        [NASTY] * 60,
        labels=(NASTY, "b", "c", "d"),
        names=(NASTY, "b"),
        columns={NASTY: [NASTY, "x"] * 30},
        sensitive=[NASTY],
    )


CONTRASTS = {"images": images, "windows": windows, "texts": texts, "hostile": hostile}
