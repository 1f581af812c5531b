"""Where model files come from: a folder, a package, the hub; and what is said when they come from nowhere."""

import os
import subprocess
import sys

import pytest

from compress.errors import ModelError
from compress.model import hub
from compress.model.hub import Carrier, cached_folder, local_folder, model_folder

NAME = "owner/name"


def test_a_folder_is_itself(tmp_path):
    assert model_folder(str(tmp_path), None) == tmp_path
    assert local_folder(NAME) is None
    assert local_folder("bert-base-uncased") is None


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/model", "a/b/c", "~/model"])
def test_a_path_that_is_no_folder(name):
    with pytest.raises(ModelError, match="no such folder"):
        local_folder(name)


def test_a_hub_model_wants_a_revision():
    with pytest.raises(ModelError, match=r"has no revision(.|\n)*add `revision:` with a commit"):
        model_folder(NAME, None)


def test_a_package_carries_a_model_if_its_weights_are_the_published_ones(tmp_path, monkeypatch):
    monkeypatch.setitem(hub.CARRIERS, NAME, Carrier("numpy", "numpy/fft", "0" * 64))
    monkeypatch.setattr(hub.metadata, "distribution", lambda _: Distribution(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"other weights")

    with pytest.raises(ModelError, match="are not those published as owner/name"):
        model_folder(NAME, None)


class Distribution:
    def __init__(self, folder):
        self.folder = folder

    def locate_file(self, _):
        return self.folder


def test_no_network_is_said_so(tmp_path):
    """In a process of its own: huggingface_hub reads its settings when it is imported."""
    code = "from compress.model.hub import model_folder; model_folder('owner/name', '0' * 40)"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)

    assert "teacher.hf owner/name: it cannot be downloaded" in done.stderr
    assert "copy the model's folder here and give its path" in done.stderr


def errors():
    import httpx2 as httpx  # what huggingface_hub itself answers with
    from huggingface_hub import errors

    response = httpx.Response(403, request=httpx.Request("GET", "https://localhost"))
    return [
        (errors.GatedRepoError("gated", response=response), "gated"),
        (errors.RepositoryNotFoundError("nope", response=response), "the hub knows no such model"),
        (errors.RevisionNotFoundError("nope", response=response), "no revision 'abc'"),
        (errors.LocalEntryNotFoundError("offline"), "cannot be downloaded: offline"),
    ]


@pytest.mark.parametrize(("error", "match"), errors())
def test_what_the_hub_refuses(monkeypatch, error, match):
    import huggingface_hub

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ModelError, match=match):
        model_folder(NAME, "abc")


@pytest.mark.parametrize(("pickle", "match"), [(True, r"pickled(.|\n)*from_pretrained\('owner/name'\)"),
                                               (False, r"holds no model\.safetensors")])  # fmt: skip
def test_a_hub_model_without_safetensors(monkeypatch, tmp_path, pickle, match):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "file_exists", lambda *_, **__: pickle)
    with pytest.raises(ModelError, match=match):
        model_folder(NAME, "abc")


def test_the_cache_is_asked_without_a_network():
    assert cached_folder(NAME, "0" * 40) is None
    assert cached_folder("no id at all!", None) is None
