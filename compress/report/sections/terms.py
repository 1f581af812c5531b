"""The words that a page uses, in plain ones."""

from compress.report.html.markup import Markup, tag
from compress.report.html.parts import section

TERMS = {
    "teacher, student": "the model you gave, and the smaller one that was taught to answer as it does",
    "points": "percentage points: from 98.7 % to 98.2 % is −0.5 points",
    "95 % interval": "where the true figure lies, 95 times in 100; other examples or another run would move it within",
    "no difference shown": "so few answers changed that chance alone explains it (McNemar's exact test, p above 0.05); "
    "a larger test set might still show one",
    "lost, gained": "answers that were right before and wrong after, and the reverse",
    "median, p50, p90": "half of the runs were faster than the median (p50), nine in ten faster than p90",
    "single stream": "one inference straight after the other, on average, as MLPerf Tiny counts it; pauses are in it",
    "CPU time": "what all cores together spent on an inference",
    "measured, estimated": "read off a clock or a meter on that device; or worked out from an assumption, never ranked",
    "float32, int8": "weights of four bytes, and whole numbers of one byte, which processors multiply faster; dynamic "
    "int8 finds the range of its inputs anew for each example",
    "MACs": "multiplications with additions for one example: the work, whatever the machine",
    "parity": "whether the model still says the same after it was written into a file",
    "agreement": "share of the examples that both files answer alike, right or wrong",
    "slice": "test examples that have something in common, as their class or brightness",
    "q": "how likely chance alone does this, allowing for the number of slices looked at; hurt is below 0.05",
    "divergence (KL)": "how far answers moved from those in float, in nats; 0 is not at all, 0.01 hardly shows",
    "noise": "energy of the rounding error over that of the signal; 0 is none, 0.01 is an error of a tenth",
    "decibels": "signal over rounding error: 20 dB is an error of a tenth, 40 dB of a hundredth; 6 dB are one bit",
    "clipped": "values beyond the range that int8 can hold, cut off at its end",
    "cosine": "how alike two vectors point: 1 is the same direction",
}


def terms(*names: str) -> Markup:
    """Those of the words that a page uses."""
    rows = [tag("div", tag("dt", name), tag("dd", TERMS[name])) for name in names]
    return section("terms", "Words on this page", tag("dl", rows, class_="labels terms"))
