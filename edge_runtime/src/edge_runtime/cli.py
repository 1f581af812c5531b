"""The command line: `edge-runtime COMMAND BUNDLE`; the commands are the modules of `edge_runtime.commands`.

Exit codes: 0 fine; 1 the bundle, the engine or the self-test failed; 2 the call or its input was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import io
import json
import pkgutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime import __version__, commands
from edge_runtime._parts import COMMANDS, FIX, import_part
from edge_runtime.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; print errors, never tracebacks. Returns the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a label that the terminal cannot show is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and hasattr(options, "files") and not any(word.startswith("-") for word in rest):
        options.files += map(Path, rest)  # argparse gives up on a list of files that an option stands in the middle of
    elif rest and options.known:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        answer, lines, code = options.run(options)
        text = json.dumps(answer, indent=2) if options.json else "\n".join(lines)
        if text:
            print(text, flush=True)
    except EdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, for example `head`, has seen enough
        sys.stderr.close()
        return 0
    except OSError as error:  # what no command foresaw; a full disk under our own output, for one
        where = error.filename2 or error.filename or "the output"
        print(
            f"error: {where}: {error.strerror}\n  fix: see that it can be written and has space left", file=sys.stderr
        )
        with contextlib.suppress(OSError):
            sys.stdout.close()  # else Python tries again at its end, and complains
        return 1
    return int(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-runtime", description="Inspect and run a compress bundle.")
    parser.add_argument("--version", action="version", version=f"edge-runtime {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    installed = {m.name for m in pkgutil.iter_modules(commands.__path__) if not m.name.startswith("_")}
    for name in sorted({*installed, *COMMANDS}):
        if name not in installed:  # any arguments: that it is missing is said before what is wrong with them
            sub = subparsers.add_parser(name, help=f"not installed: {FIX}", add_help=False)
            sub.set_defaults(run=functools.partial(_missing, name), known=False)
            continue
        module = importlib.import_module(f"{commands.__name__}.{name}")
        sub = subparsers.add_parser(name, help=module.HELP, description=module.HELP)
        sub.add_argument("--json", action="store_true", help="print JSON instead of text")
        module.arguments(sub)
        sub.set_defaults(run=module.run, known=True)
    return parser


def _missing(name: str, _: argparse.Namespace) -> Any:
    import_part(f"commands.{name}", f"edge-runtime {name}")
