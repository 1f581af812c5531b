"""Two files on the same examples, in depth: what `result.json` and `compare.json` hold of it, as plain frozen data.

"Before" is the reference (the teacher, in a run), "after" the file under judgement. Raw counts stand beside shares.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Interval = tuple[float, float]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Part(BaseModel):
    """Frozen, and nothing unknown in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Paired(Part):
    """The same examples through the reference's file and this one (test split).

    difference_points: this minus reference, in percentage points; ci95_points: paired bootstrap.
    p_value: exact McNemar.
    lost: reference right, this wrong; gained: the reverse. verdict: in words, "no difference shown" included.
    """

    count: int
    difference_points: float
    ci95_points: Interval
    lost: int
    gained: int
    agreement: Share
    p_value: float
    verdict: str


class Bin(Part):
    """Examples whose highest probability lies in one bin: how sure the file was, and how often it was right."""

    count: int
    confidence: Share
    accuracy: Share


class Calibration(Part):
    """How far confidence can be believed.

    ece: expected calibration error over equal-width bins, weighted by count (Guo et al. 2017, arXiv:1706.04599).
    brier: mean squared distance of the probabilities from the truth, 0..2. nll: mean -ln p(truth), in nats.
    bins: those that hold examples, in order of confidence.
    """

    ece: Share
    brier: float
    nll: float
    bins: tuple[Bin, ...]


class ClassScores(Part):
    """Precision, recall and F1 of one class; None where nothing was answered (precision) or there (recall)."""

    precision: Share | None
    recall: Share | None
    f1: Share | None


class ClassPair(Part):
    """One class before and after. support: examples of that class."""

    name: str
    support: int
    before: ClassScores
    after: ClassScores


class Slice(Part):
    """Examples that have something in common, before and after.

    p_value: exact McNemar within the slice; q_value: after Benjamini-Hochberg over all slices of the comparison.
    hurt: q_value below 0.05 and more examples lost than gained.
    """

    family: str
    name: str
    count: int
    before_top1: Share
    after_top1: Share
    lost: int
    gained: int
    ci95_points: Interval
    p_value: float
    q_value: float
    hurt: bool


class Rates(Part):
    """Rates of the positive class (the second of two) in one group; None where nothing is to judge one on."""

    before_selection: Share | None
    after_selection: Share | None
    before_tpr: Share | None
    after_tpr: Share | None
    before_fpr: Share | None
    after_fpr: Share | None


class GroupRow(Part):
    """Examples with one value of a sensitive column, before and after."""

    column: str
    name: str
    count: int
    before_top1: Share
    after_top1: Share
    positive: Rates | None = None


class Gap(Part):
    """One rate between the two groups that lie furthest apart after compression, in percentage points.

    metric: accuracy, selection rate, true or false positive rate, the latter three `of_class`. before, after: the
    distance of these two groups; ci95_change: of after minus before. p_value: that the change has nothing to do with
    the group, q_value: corrected over all gaps. wider: q_value below 0.05 and the gap grew.
    """

    column: str
    metric: str
    of_class: str
    low: str
    high: str
    before: float
    after: float
    ci95_change: Interval
    p_value: float
    q_value: float
    wider: bool


class Attribution(Part):
    """What spoke for the answer before over the one after, part by part: Shapley values of the difference of their
    log-probabilities, by each file, in nats. Parts stand in a grid of rows x columns, row by row.

    kind: patches of an image, words, stretches of a signal (a row a channel), columns of a table. words: as shown.
    """

    kind: Literal["patches", "words", "stretches", "columns"]
    rows: int
    columns: int
    words: tuple[str, ...] = ()
    before: tuple[float, ...]
    after: tuple[float, ...]


class Flip(Part):
    """One example whose answer changed.

    kind: lost (right, now wrong), gained (the reverse) or changed (wrong both times, in another way).
    before_confidence, after_confidence: probability each file gave its own answer; truth_drop: by how much the
    probability of the true class fell. Shown by at most one of: picture (a data: URI of a PNG), text, trace
    (channels of samples, downsampled).
    """

    index: int
    kind: Literal["lost", "gained", "changed"]
    truth: str
    before: str
    after: str
    before_confidence: Share
    after_confidence: Share
    truth_drop: float
    picture: str = ""
    text: str = ""
    trace: tuple[tuple[float, ...], ...] = ()
    attribution: Attribution | None = None


class InvarianceRow(Part):
    """Predictions under one transformation at one strength, on `count` test examples.

    consistency: share whose answer is the same as on the untouched example. ci95_points: of the difference in
    consistency, after minus before, paired bootstrap.
    """

    transformation: str
    strength: float
    unit: str
    count: int
    before_consistency: Share
    after_consistency: Share
    before_top1: Share
    after_top1: Share
    difference_points: float
    ci95_points: Interval


class Costs(Part):
    """Mean cost of an answer by the recipe's cost matrix, with the paired interval of the difference."""

    before: float
    after: float
    difference: float
    ci95: Interval


class Comparison(Part):
    """Everything known about one pair of files. before, after: artefact ids or names of the files.

    groups, gaps: of the recipe's sensitive columns. notes: what could not be said, and why.
    """

    before: str
    after: str
    count: int
    classes: tuple[str, ...]
    paired: Paired
    examples_needed: int | None
    before_calibration: Calibration
    after_calibration: Calibration
    class_pairs: tuple[ClassPair, ...]
    slices: tuple[Slice, ...]
    flips: tuple[Flip, ...]
    invariance: tuple[InvarianceRow, ...] = ()
    costs: Costs | None = None
    groups: tuple[GroupRow, ...] = ()
    gaps: tuple[Gap, ...] = ()
    notes: tuple[str, ...] = ()
