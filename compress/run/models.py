"""The steps that make models: the teacher, the student's start, the stages. Torch is imported only when one runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compress.data.dataset import Dataset
from compress.errors import ModelError
from compress.model.checkpoint import load_checkpoint
from compress.model.encoder_weights import read_model, take_layers
from compress.model.hub import model_folder
from compress.model.huggingface import pooling_of, weights_file
from compress.model.model import Model
from compress.model.nets import TEXT_NETS, build_net
from compress.model.rewrite import fold_batch_norm
from compress.model.shapes import infer_shapes
from compress.model.tokenizer_files import check_tokenizer
from compress.recipe.facts import DataShape, model_of
from compress.recipe.schema import NetConfig, StudentConfig, TeacherConfig
from compress.run.cache import sha256_file


@dataclass(frozen=True, slots=True)
class ModelStep:
    """A finished model: the step that made it, its checkpoint folder, its content digest and the graph's own facts."""

    name: str
    kind: str
    folder: Path
    digest: str
    kept: Mapping[str, str]

    def load(self) -> Model:
        """The model itself."""
        return load_checkpoint(self.folder)


def origin_inputs(config: NetConfig, data: DataShape | None, seed: int) -> dict[str, str]:
    """What a net's start depends on besides its config and the teacher: a checkpoint's or hub model's bytes, or what
    the user's function makes."""
    if config.python is not None and data is not None:
        return {"python": model_of(config, data, seed).digest()}
    if isinstance(config, TeacherConfig) and config.onnx is not None:
        from compress.model.from_onnx import file_digest

        return {"onnx": file_digest(Path(config.onnx))}
    if config.checkpoint is not None:
        return {n: sha256_file(_existing(Path(config.checkpoint) / n)) for n in ("model.json", "weights.safetensors")}
    if isinstance(config, TeacherConfig) and config.hf is not None:
        folder = model_folder(config.hf, config.revision)
        files = {path.name: sha256_file(path) for path in (folder / "config.json", weights_file(folder))}
        pooling = pooling_of(folder)
        return files if pooling == "mean" else {**files, "pooling": pooling}  # keys made before it was asked stay
    return {}


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ModelError(f"{path.name} is missing", str(path.parent), "give a checkpoint folder that compress wrote")
    return path


def start_model(config: NetConfig, data: Dataset, seed: int, where: str, teacher: ModelStep | None = None) -> Model:
    """A named net with fresh weights, a checkpoint, a hub model or some of the teacher's layers, checked for the data.

    Raises:
        ModelError: it takes other inputs than the data gives, or does not answer with its classes.
    """
    if config.checkpoint is not None:
        model = load_checkpoint(Path(config.checkpoint))
    elif config.python is not None:
        model = model_of(config, DataShape(data.input_shape, len(data.classes)), seed)
    elif isinstance(config, TeacherConfig) and config.onnx is not None:
        from compress.model.from_onnx import read_onnx_model

        model = read_onnx_model(Path(config.onnx), data.input_shape)
    elif isinstance(config, StudentConfig) and config.from_teacher is not None:
        assert teacher is not None, "a student is begun after its teacher"
        model = take_layers(teacher.load(), config.from_teacher.layers)
    elif isinstance(config, TeacherConfig) and config.hf is not None:
        folder = model_folder(config.hf, config.revision)
        model = read_model(folder, data.preprocessing.max_length, len(data.classes), seed)
    else:
        from compress.model.module import initial_model

        assert config.net is not None, "the schema wants one origin"
        shape = (data.preprocessing.max_length,) if config.net in TEXT_NETS else data.input_shape
        model = initial_model(build_net(config.net, config.args, shape, len(data.classes)), seed)
    check_fit(model, data, where)
    return model


def check_fit(model: Model, data: Dataset, where: str) -> None:
    """What a run would otherwise meet only after training.

    Raises:
        ModelError: it takes other inputs, has other classes, or a batch norm that cannot be exported.
    """
    graph, texts = model.graph, data.preprocessing.kind == "text"
    if texts and graph.pad_id is not None and "embedding.tokens" not in model.weights:
        rows = graph.node("embedding").attrs["vocabulary"]
        check_tokenizer(data.preprocessing.content, rows, graph.pad_id, where)
    if texts != (graph.pad_id is not None) or (not texts and graph.input_shape != data.input_shape):
        what = f"it takes inputs of shape {graph.input_shape}, the data gives {data.input_shape}"
        raise ModelError(what, where, "use the data it was made for, or another model")
    if texts and graph.input_shape[0] < data.preprocessing.max_length:
        longest = data.preprocessing.max_length
        what = f"it reads at most {graph.input_shape[0]} tokens, data.max_length is {longest}"
        raise ModelError(what, where, "lower data.max_length")
    fold_batch_norm(model)
    outputs = infer_shapes(graph)[graph.output]
    if outputs != (len(data.classes),):
        what = f"it gives {outputs[0] if outputs else 0} outputs, the data has {len(data.classes)} classes"
        raise ModelError(what, where, "use the labels it was trained on, or another model")
