"""Targets: all load, each value has a reason, and a faulty file is refused."""

import json
import typing
from pathlib import Path

import pytest

from compress.errors import PlanError
from compress.plan.target import CLAIMS, for_target, load_target, parse_target, target_names
from compress.recipe.schema import QuantizeConfig, Target, TrainConfig

GOOD = b"""\
name: t
description: d
formats: [onnx]
activations: {onnx: uint8}
weights: int8
weight_bits: 8
operators: chains
transformers: dynamic
reasons: {formats: a, activations: a, weights: a, weight_bits: b, operators: c, transformers: d}
evidence: {formats: [], activations: [], weights: [], weight_bits: [], operators: [], transformers: []}
"""
RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"
EXEMPT = ("activations", "weights", "weight_bits")  # of TFLite they are the standard's; of ARM what needs a board


def test_the_schema_and_the_folder_name_the_same_targets():
    assert set(target_names()) == set(typing.get_args(Target))


@pytest.mark.parametrize("name", typing.get_args(Target))
def test_every_target_loads_with_a_reason_for_every_value(name):
    profile = load_target(name)

    assert profile.name == name
    assert all(len(reason) > 30 for reason in profile.reasons.values())


@pytest.mark.parametrize("name", typing.get_args(Target))
def test_what_a_target_calls_measured_stands_in_a_committed_result(name):
    profile = load_target(name)

    for claim in CLAIMS:
        assert profile.evidence[claim] or "ot measured" in profile.reasons[claim] or claim in EXEMPT, claim
        for pointer in profile.evidence[claim]:
            file, _, keys = pointer.partition(":")
            found = json.loads((RESULTS / file).read_text())
            for key in keys.split(".") if keys else ():
                found = found[key]
            assert found
        assert profile.claim(claim).endswith(")")


def test_only_avx2_without_vnni_saturates():
    assert {n: load_target(n).weight_bits for n in target_names() if load_target(n).weight_bits != 8} == {"x86-avx2": 7}


def test_the_recipe_wins_over_the_target():
    avx2 = load_target("x86-avx2")

    assert for_target(QuantizeConfig(), avx2).weight_bits == 7
    assert for_target(QuantizeConfig(weight_bits=8), avx2).weight_bits == 8
    assert for_target(TrainConfig(), avx2) == TrainConfig()


def test_an_unknown_target_lists_those_there_are():
    with pytest.raises(PlanError, match="no target 'x86'") as caught:
        load_target("x86")
    assert "x86-avx2, x86-vnni" in caught.value.fix


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"weight_bits: 8", b"weight_bits: 6", "weight_bits: Input should be 7 or 8"),
        (b"[onnx]", b"[coreml]", "formats.0: Input should be 'onnx' or 'tflite'"),
        (b"formats: a, ", b"", "reasons must be given for exactly formats, activations"),
        (b"{onnx: uint8}", b"{tflite: int8}", "activations must be given for exactly onnx"),
        (b"name: t", b"name: u", "it is named 'u'"),
        (b"name: t", b"name: [", "line 3: it is no YAML"),
        (b"name: t", b"nam: t", "Field required"),
    ],
)
def test_a_faulty_profile_is_refused(old, new, message):
    assert parse_target(GOOD, "t").name == "t"
    with pytest.raises(PlanError, match=message):
        parse_target(GOOD.replace(old, new), "t")
