"""Whatever is fed to the loader, it returns a Recipe or raises RecipeError; nothing else, and quickly."""

from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.errors import RecipeError
from compress.recipe.load import parse_recipe
from compress.recipe.schema import Recipe

ROOT = Path(__file__).resolve().parents[3]
REAL = [p.read_text() for p in sorted((ROOT / "recipes").glob("*.yaml"))]
WORDS = sorted(
    {"version", "name", "data", "teacher", "student", "stages", "net", "args", "train", "distill", "prune", "quantize",
     "how", "static", "qat", "epochs", "layers", "all", "hints", "digits", "source", "mlp", "ds-cnn", "resnet8",
     "checkpoint", "budget", "latency_ms", "cpu", "measure", "devices", "export", "onnx", "re:(", "re:.*", "", "width",
     "blocks", "hidden", "keep_macs", "idx", "npz", "keep_float", "augment", "target", "seed"}
)  # fmt: skip


def refuse_or_load(text, *overrides):
    try:
        found = parse_recipe(text, "fuzz.yaml", overrides)
    except RecipeError as error:
        found = error
    if isinstance(found, RecipeError):
        head, *lines = found.what.splitlines()
        assert head == ("1 problem" if len(lines) == 1 else f"{len(lines)} problems")
        assert all(line.startswith("    ") for line in lines)
    else:
        assert isinstance(found, Recipe)


scalars = st.one_of(
    st.sampled_from(WORDS),
    st.none(),
    st.booleans(),
    st.integers(-3, 5),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
)
keys = st.one_of(st.sampled_from(WORDS), st.text(max_size=5))
values = st.recursive(scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(keys, v, max_size=4), max_leaves=12)


@st.composite
def near_recipes(draw):
    """A real recipe with some values anywhere in it replaced, removed or added."""
    doc = yaml.safe_load(draw(st.sampled_from(REAL)))
    for _ in range(draw(st.integers(1, 4))):
        node = doc
        while True:
            places = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not places:
                break
            place = draw(st.sampled_from(places))
            if isinstance(node[place], (dict, list)) and node[place] and draw(st.integers(0, 3)):
                node = node[place]
                continue
            action = draw(st.sampled_from(["replace", "remove", "add"]))
            if action == "replace":
                node[place] = draw(values)
            elif action == "remove":
                del node[place]
            elif isinstance(node, dict):
                node[draw(keys)] = draw(values)
            else:
                node.append(draw(values))
            break
    return yaml.safe_dump(doc)


@settings(max_examples=150, deadline=None)
@given(near_recipes())
def test_mutated_recipes(text):
    refuse_or_load(text)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(REAL), st.data())
def test_recipes_with_damaged_text(text, data):
    raw = bytearray(text.encode())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.one_of(
                st.binary(max_size=2), st.sampled_from([b"&a ", b"*a", b"!!x ", b"? ", b"- ", b": ", b"[", b"}", b"\n"])
            )
        )
    refuse_or_load(bytes(raw))


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200)))
def test_any_bytes_and_text(text):
    refuse_or_load(text)


@settings(max_examples=100, deadline=None)
@given(values)
def test_any_yaml_value(value):
    refuse_or_load(yaml.safe_dump(value))


segments = st.one_of(st.sampled_from([*WORDS, "0", "1", "99", "[0]"]), st.text(max_size=4))


@settings(max_examples=150, deadline=None)
@given(st.lists(segments, max_size=5), st.one_of(st.text(max_size=10), values.map(lambda v: yaml.safe_dump(v))))
def test_any_override(path, value):
    refuse_or_load(REAL[0], f"{'.'.join(path)}={value}")
