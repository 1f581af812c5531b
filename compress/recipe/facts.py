"""What can be known of data and nets before anything runs: input shape, classes, graphs. Reads headers, not data."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import CompressError, DataError, ModelError
from compress.model.bert import keep_layers
from compress.model.graph import Graph
from compress.model.hub import cached_folder, local_folder
from compress.model.huggingface import read_config, read_graph, weights_file
from compress.model.nets import ALL_NETS, TEXT_NETS, build_net
from compress.model.shapes import infer_shapes
from compress.recipe.schema import DataConfig, NetConfig, StudentConfig, TeacherConfig

if TYPE_CHECKING:
    from compress.model.model import Model
    from compress.readers.table import Columns

Shape = tuple[int, ...]
TEXT: Shape = ()  # the input shape of texts: only a tokenizer and a model say how long
# Of a net's arguments; far beyond what fits an edge device.
_MAX_WIDTH, _MAX_ENTRIES, _MAX_NODES, _MAX_VOCABULARY = 4096, 16, 2000, 1_000_000
GESTURES_LENGTH = 128  # readings in a window of the gestures where the recipe names none: 2.6 s


@dataclass(frozen=True, slots=True)
class DataShape:
    """input_shape: of one model input, channel first, no batch; TEXT for texts. classes: how many.

    max_length: tokens of the longest text; 0 where there are none.
    """

    input_shape: Shape
    classes: int
    max_length: int = 0

    @property
    def is_text(self) -> bool:
        """True if its examples are texts."""
        return self.input_shape == TEXT


BY_NAME = {
    "mnist-5k": DataShape((1, 28, 28), 10),
    "digits": DataShape((1, 8, 8), 10),
    "fashion-mnist": DataShape((1, 28, 28), 10),
    "movie-sentences": DataShape(TEXT, 2),
}


def data_shape(config: DataConfig, task: str = "image-classification") -> DataShape | None:
    """Shape and classes of a data source; None where only a download could tell.

    task: sensor-classification takes the three dimensions of an npz for windows.

    Raises:
        DataError: a file is missing or cannot be read.
    """
    if config.source is not None:
        if config.source == "gestures":
            length = config.window.length if config.window is not None else GESTURES_LENGTH
            return DataShape((6, 1, length), 7)
        known = BY_NAME[config.source]
        return replace(known, max_length=config.max_length) if known.is_text else known
    if config.idx is not None:
        return _idx_shape(Path(config.idx))
    if config.csv is not None or config.jsonl is not None:
        return _table_shape(config)
    if config.images is not None:
        from compress.readers.images import find_images, image_shape

        folder = find_images(Path(config.images))
        height, width, channels = image_shape(folder, config.size, config.channels)
        return DataShape((channels, height, width), len(folder.classes))
    if config.python is not None:
        return _python_shape(config.python, config, task)
    return _npz_shape(Path(config.npz), task) if config.npz is not None else None


def columns_of(config: DataConfig) -> "Columns":
    """What the columns of a csv or jsonl source are for."""
    from compress.readers.table import Columns

    window = None if config.window is None else (config.window.length, config.window.step or config.window.length)
    return Columns(config.label, config.text, config.features, config.classes, config.split, config.group,
                   window, config.series, config.metadata)  # fmt: skip


def net_graph(config: NetConfig, data: DataShape | None, seed: int = 0, teacher: Graph | None = None) -> Graph | None:
    """The graph a net, checkpoint or hub model gives for this data; None where it or the data's shape is not known yet.

    teacher: what a student made of the teacher's layers begins with.

    Raises:
        ModelError: no such net, arguments that make none, or a checkpoint that is missing, damaged or of other data.
    """
    if config.checkpoint is not None:
        graph: Graph | None = read_checkpoint_graph(Path(config.checkpoint))[0]
    elif isinstance(config, StudentConfig) and config.from_teacher is not None:
        graph = None if teacher is None else keep_layers(teacher, config.from_teacher.layers)[0]
    elif data is None:
        return None
    elif config.python is not None:
        graph = model_of(config, data, seed).graph
    elif isinstance(config, TeacherConfig) and config.onnx is not None:
        from compress.model.from_onnx import read_onnx_model

        graph = read_onnx_model(Path(config.onnx), data.input_shape).graph
    elif isinstance(config, TeacherConfig) and config.hf is not None:
        graph = _hub_graph(config.hf, config, data)
    else:
        assert config.net is not None  # the schema asks for exactly one of them
        if config.net in ALL_NETS and data.is_text != (config.net in TEXT_NETS):
            fitting = sorted(n for n in ALL_NETS if (n in TEXT_NETS) == data.is_text)
            takes, has = ("numbers", "texts") if data.is_text else ("texts", "numbers")
            raise ModelError(f"it takes {takes}, the data are {has}", config.net, f"choose {' or '.join(fitting)}")
        _check_args(config.net, config.args)
        shape = (data.max_length,) if data.is_text else data.input_shape
        graph = build_net(config.net, dict(config.args), shape, data.classes)
    if graph is not None:
        named = str(getattr(config, config.origin))
        _check_graph(graph, data, named if config.origin in ("checkpoint", "onnx") else f"{config.origin} {named}")
    return graph


def _hub_graph(name: str, config: TeacherConfig, data: DataShape) -> Graph | None:
    """The graph of a model folder; None for a hub model that is not on this machine."""
    if not data.is_text:
        raise ModelError("it takes texts", name, "name a column of texts in data.text, or a net for this data")
    if config.revision is not None and Path(name).is_dir():
        raise ModelError("a folder has no revision", name, "leave `revision` out")
    folder = local_folder(name) or cached_folder(name, config.revision)
    if folder is None:
        return None
    graph = read_graph(folder, data.max_length, data.classes)
    labels = read_config(folder, data.max_length).labels
    if config.train is None and len(labels) != data.classes:
        knows = f"its classifier knows {len(labels)} labels, the data have {data.classes}"
        what = knows if labels else "it is an encoder without a classifier"
        raise ModelError(what, name, "give `train:`, which fits a new classifier, or a model for these labels")
    weights_file(folder)
    return graph


def _check_graph(graph: Graph, data: DataShape | None, where: str) -> None:
    """Refuse a graph that is malformed or takes or gives other things than the data has."""
    try:
        output = infer_shapes(graph)[graph.output]
    except CompressError as error:
        raise ModelError(f"{error.where}: {error.what}", where, "change its arguments") from error
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError) as error:
        raise ModelError(f"its graph is malformed: {error!r}", where, "make the checkpoint again") from error
    if data is None:
        return
    if data.is_text != (graph.pad_id is not None):
        takes, has = ("numbers", "texts") if data.is_text else ("texts", "numbers")
        raise ModelError(f"it takes {takes}, the data are {has}", where, "use a model for this data")
    if data.is_text and graph.input_shape[0] < data.max_length:
        what = f"it reads at most {graph.input_shape[0]} tokens, data.max_length is {data.max_length}"
        raise ModelError(what, where, f"set data.max_length to {graph.input_shape[0]} or less")
    if not data.is_text and graph.input_shape != data.input_shape:
        what = f"it takes inputs of shape {list(graph.input_shape)}, the data has {list(data.input_shape)}"
        raise ModelError(what, where, "use the data it was trained on")
    if output != (data.classes,):
        what = f"its output has shape {list(output)}, the data has {data.classes} classes"
        raise ModelError(what, where, "use the data it was trained on")


def model_of(config: NetConfig, data: DataShape, seed: int) -> "Model":
    """What the function that `python` names makes for this data."""
    from compress.model.python import model_from_python

    assert config.python is not None  # asked of such only
    return model_from_python(config.python, config.args, config.weights, shape=data.input_shape, classes=data.classes,
                             seed=seed)  # fmt: skip


def read_checkpoint_graph(folder: Path) -> tuple[Graph, str]:
    """The graph of a checkpoint and the digest of its content, without reading its weights.

    Raises:
        ModelError: it is missing or damaged.
    """
    where, fix = str(folder), "give a checkpoint folder that compress wrote (it holds model.json)"
    try:
        doc = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "it holds no model.json" if folder.is_dir() else "there is no such folder"
        raise ModelError(what, where, fix) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"model.json cannot be read: {error}", where, fix) from error
    if not isinstance(doc, dict) or doc.get("format") != "compress.checkpoint":
        raise ModelError("model.json is no compress checkpoint", where, fix)
    graph, digest = doc.get("graph"), doc.get("digest")
    if not isinstance(graph, dict) or not isinstance(digest, str):
        raise ModelError("model.json holds no graph and digest", where, fix)
    if not (folder / "weights.safetensors").is_file():
        raise ModelError("it holds no weights.safetensors", where, fix)
    return Graph.from_json(graph), digest


def _check_args(net: str, args: dict[str, Any]) -> None:
    """Arguments are whole numbers, or lists of them, like their defaults, and of a size that can be built."""
    if net not in ALL_NETS:
        return  # build_net says so
    size = 1
    for key, default in ALL_NETS[net][1].items():
        value = args.get(key, default)
        many = isinstance(default, list)
        if many and isinstance(default[0], dict):
            size *= len(value) if isinstance(value, (list, tuple)) else 1
            continue  # a net spelled out: its builder checks each item
        least = min(default) if many and min(default) < 1 else 1
        most = _MAX_VOCABULARY if key == "vocabulary" else _MAX_WIDTH
        entries = value if many and isinstance(value, (list, tuple)) else [value]
        right_sort = many == isinstance(value, (list, tuple)) and 1 <= len(entries) <= _MAX_ENTRIES
        if not right_sort or not all(type(v) is int and least <= v <= most for v in entries):
            want = "a list of 1 to 16 whole numbers" if many else "a whole number"
            raise ModelError(f"{key}: want {want} from {least} to {most}, got {value!r}", net, "correct it")
        size *= len(entries) if many else (value if key == "blocks" else 1)
    if size > _MAX_NODES:
        raise ModelError(f"{size} blocks; at most {_MAX_NODES}", net, "make it shallower")


def _idx_shape(folder: Path) -> DataShape:
    from compress.readers.idx import idx_files, idx_shape

    size, classes = idx_shape(idx_files(folder))
    return DataShape((1, *size), classes)


def _table_shape(config: DataConfig) -> DataShape:
    from compress.readers.table import table_shape

    features, classes = table_shape(Path(config.csv or config.jsonl or ""), columns_of(config))
    if config.window is not None:
        return DataShape((features, 1, config.window.length), classes)
    return DataShape((features,), classes) if config.text is None else DataShape(TEXT, classes, config.max_length)


def _npz_shape(path: Path, task: str) -> DataShape:
    from compress.readers.npz import npz_shape

    x, classes = npz_shape(path)
    return DataShape(_example_shape(x, task, str(path)), classes)


def _python_shape(spec: str, config: DataConfig, task: str) -> DataShape:
    from compress.readers.python import read_python
    from compress.readers.texts import Texts

    raw = read_python(spec, config.args, windows=task == "sensor-classification")
    if raw.classes is None and (raw.y_train.dtype.kind not in "ui" or not raw.y_train.size):
        what = f"y_train is {raw.y_train.dtype} of shape {raw.y_train.shape}"
        raise DataError(what, f"data.python {spec}", "return one whole number an example, and classes for their names")
    classes = len(raw.classes) if raw.classes is not None else int(raw.y_train.max()) + 1
    if isinstance(raw.x_train, Texts) != (task == "text-classification"):
        what = f"it returned {'texts' if isinstance(raw.x_train, Texts) else 'numbers'}, the task is {task}"
        raise DataError(what, f"data.python {spec}", "correct the recipe's task")
    if isinstance(raw.x_train, Texts):
        return DataShape(TEXT, classes, config.max_length)
    return DataShape(_example_shape(raw.x_train.shape, task, f"data.python {spec}"), classes)


def _example_shape(x: Shape, task: str, where: str) -> Shape:
    """Shape of one model input, from that of x_train."""
    if task == "sensor-classification":
        if len(x) != 3:
            raise DataError(f"x_train has shape {x}", where, "windows want (n, length, channels)")
        return (x[2], 1, x[1])
    if len(x) not in (2, 3, 4):
        raise DataError(f"x_train has shape {x}", where, "want (n, h, w), (n, h, w, channels) or (n, length)")
    return (x[3], x[1], x[2]) if len(x) == 4 else (1, *x[1:]) if len(x) == 3 else (x[1],)
