"""The command line: prints errors, not tracebacks. Rooms are imported inside the commands: --help stays quick."""

import codecs
import difflib
import importlib
import io
import pkgutil
import sys
from typing import Any, NoReturn

import click

from compress import __version__, commands
from compress.errors import CompressError, MissingExtraError
from compress.interrupt import stop_on_signals

# Modules of optional dependencies -> the extra that installs them.
_EXTRAS = {
    **dict.fromkeys(("torch", "accelerate"), "train"),
    **dict.fromkeys(("onnx", "onnxruntime"), "onnx"),
    **dict.fromkeys(("ai_edge_litert", "flatbuffers"), "tflite"),
    **dict.fromkeys(("sklearn", "mlxtend"), "data"),
    "datasets": "hf",
    **dict.fromkeys(("neural_compressor", "onnxscript"), "inc"),
    "cryptography": "signing",
}


def _in_plain_signs(error: UnicodeError) -> tuple[str, int]:
    """An error handler of codecs: signs that the terminal's encoding lacks, in signs that every one has."""
    from compress.report.words import ascii_only

    assert isinstance(error, UnicodeEncodeError)
    return ascii_only(error.object[error.start : error.end]), error.end


def _fail(error: CompressError) -> NoReturn:
    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(str(error), err=True)
    sys.exit(error.exit_code)


class _Group(click.Group):
    """Finds the commands of `compress/commands/`, and turns every CompressError into one message and its exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """As click's; what a terminal of another encoding (LANG=C, a pipe of old) cannot show never stops a run."""
        codecs.register_error("plain-signs", _in_plain_signs)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="plain-signs")
        return super().main(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(m.name for m in pkgutil.iter_modules(commands.__path__) if not m.name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """`command` of the module of that name in `compress/commands/`."""
        if cmd_name not in self.list_commands(ctx):
            return None
        found: click.Command = importlib.import_module(f"{commands.__name__}.{cmd_name}").command
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """As click's, with a suggestion for a name that is none."""
        if args and args[0].isalpha() and args[0] not in self.list_commands(ctx):
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CompressError as error:
            _fail(error)
        except ModuleNotFoundError as error:
            extra = _EXTRAS.get((error.name or "").partition(".")[0])
            if extra is None:
                raise
            _fail(MissingExtraError(f"this needs {error.name}", "extras", f'pip install "compress-edge[{extra}]"'))
        except BrokenPipeError:  # whoever read our output left
            raise
        except OSError as error:  # the rooms name what they were doing; this is what none of them foresaw
            where = str(error.filename2 or error.filename or "reading or writing")
            _fail(CompressError(error.strerror or str(error), where, "see that it exists, is yours and has space left"))
        except KeyboardInterrupt:
            kept = "; finished steps and epochs are in the cache, the same command goes on from there"
            click.echo(f"\nstopped{kept if ctx.invoked_subcommand == 'run' else ''}", err=True)
            sys.exit(130)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="compress")
def main() -> None:
    """From a trained teacher to a measured, deployable edge bundle."""
    stop_on_signals()  # workers and jobs on devices end with the command
