"""compress huggingface: a bundle's ONNX file as a folder that Optimum opens."""

from pathlib import Path

import click

from compress.commands._bundle import BUNDLE


@click.command("huggingface", short_help="Write a bundle for Hugging Face Optimum.")
@BUNDLE
@click.argument("folder", type=click.Path(path_type=Path))
def command(bundle: Path, folder: Path) -> None:
    """Write the ONNX file of BUNDLE into FOLDER so that Hugging Face's Optimum opens it with from_pretrained.

    For image and text classifiers; the bundle of a text recipe is such a folder already. The other way round,
    `compress quantize` takes a folder that Optimum exported.
    """
    from compress.export.huggingface import write_huggingface

    name = write_huggingface(bundle, folder)
    click.echo(f"{folder}: {name}.from_pretrained({str(folder)!r})")
