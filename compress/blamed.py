"""blame.json: which layers of an exported file cost the accuracy and which the time, as plain frozen data."""

import json
from pathlib import Path
from typing import Literal

from compress.comparison import Interval, Part
from compress.documents import read_document

FORMAT, VERSION = "compress.blame", 1


class LayerBlame(Part):
    """One integer layer of the file. Figures that a kind of file does not give are None.

    weight_sqnr_db: of the stored weights against the float ones. output_sqnr_db: of the layer's output in the whole
    int8 model against the float model's; None for one that the file merges with others. clipped: share of the float
    outputs that lie outside the grid behind the layer. zero_channels: stored as zeros though the float weights are not.
    gain: least-squares factor between stored and float weights, 1 where scales are right; None where the float weights
    are all zero.
    alone_kl: divergence from the float file (Blame.measure) with this layer alone in int8. without_kl: with all int8
    but this one. alone_top1, without_top1: validation accuracy of these two files. milliseconds: of its operators in
    the engine's profile, None where it has none; share: of all. saves_ms: by how much the file is slower with this
    layer in float, timed side by side; saves_ci95: Student's t over processes; None where nothing was timed.
    findings: what is wrong, in words; empty where nothing stands out.
    """

    name: str
    op: str
    weight_sqnr_db: float | None
    output_sqnr_db: float | None
    clipped: float | None
    zero_channels: int
    gain: float | None
    alone_kl: float
    alone_top1: float
    without_kl: float
    without_top1: float
    milliseconds: float | None = None
    share: float | None = None
    saves_ms: float | None = None
    saves_ci95: Interval | None = None
    findings: tuple[str, ...] = ()


class Mixed(Part):
    """A file with some layers in float and some outputs on new grids: predicted from the single layers, then measured.

    regrid: layers whose output got the range that calibration data shows. milliseconds: of the file; slower_ms: than
    all in int8, predicted from the layers' own and then timed side by side.
    """

    keep_float: tuple[str, ...]
    regrid: tuple[str, ...] = ()
    predicted_kl: float
    kl: float
    top1: float
    size_bytes: int
    recovered: float | None
    predicted_slower_ms: float | None = None
    milliseconds: float | None = None
    slower_ms: float | None = None
    slower_ci95: Interval | None = None


class Blame(Part):
    """Everything found about one file.

    *_top1: share of `count` validation examples that are right; recovered: share of the float file's lead that comes
    back. measure: how divergence is measured, "kl" (mean Kullback-Leibler, nats) or "noise" (of the output that strays
    most, energy of the error over the signal's). right: having the true label, the float file's answer (of a sequence
    all of them), or an error of at most 1 % of the signal. milliseconds, float_milliseconds: one example, one thread,
    here; None where nothing was timed.
    profile: where the layers' milliseconds come from, or why there are none. advice: what to do, in words; plan: the
    mixed file advised, if one helps.
    """

    format: Literal["compress.blame"] = "compress.blame"
    version: Literal[1] = 1
    name: str
    artefact: str
    kind: Literal["onnx", "tflite"]
    measure: Literal["kl", "noise"] = "kl"
    right: Literal["label", "answer", "signal"] = "label"
    count: int
    float_top1: float
    top1: float
    kl: float
    size_bytes: int
    float_size_bytes: int
    milliseconds: float | None = None
    float_milliseconds: float | None = None
    profile: str = ""
    layers: tuple[LayerBlame, ...]
    tried: tuple[Mixed, ...]
    plan: Mixed | None
    advice: tuple[str, ...]


def save_blame(path: Path, blame: Blame) -> None:
    """Write blame.json."""
    path.write_text(json.dumps(blame.model_dump(mode="json"), indent=1) + "\n")


def load_blame(path: Path) -> Blame:
    """Read blame.json back.

    Raises:
        UsageError: it is missing, damaged, or of another version.
    """
    fix = "run compress blame again"
    return read_document(path, Blame, format=FORMAT, version=VERSION, called="blame", fix=fix)
