"""Python that a recipe names, `pkg.module:function`: called only where the user has said --allow-code."""

import importlib
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any

from compress.errors import CodeRefusedError, FactoryError

_allowed: ContextVar[bool] = ContextVar("code_allowed", default=False)  # refused unless somebody allows it


@contextmanager
def allowing_code(allow: bool = True) -> Iterator[None]:
    """Inside, recipes may call the functions they name, also those of modules in the current folder."""
    token, folder = _allowed.set(allow), os.getcwd()
    added = allow and folder not in sys.path and "" not in sys.path
    if added:
        sys.path.append(folder)
    try:
        yield
    finally:
        _allowed.reset(token)
        if added and folder in sys.path:
            sys.path.remove(folder)


def call_factory(spec: str, arguments: Mapping[str, Any], where: str) -> Any:
    """What `function(**arguments)` of `pkg.module:function` returns.

    where: the recipe's key, for messages.

    Raises:
        CodeRefusedError: nobody has allowed it.
        FactoryError: there is no such module or function, or it raised: with the file and line where it did.
    """
    place = f"{where} {spec}"
    if not _allowed.get():
        what = "the recipe names Python code to run, and running it was not allowed"
        raise CodeRefusedError(what, place, "read that code; if you trust it, add --allow-code")
    module_name, _, path = spec.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        absent = error.name or ""
        if module_name != absent and not module_name.startswith(f"{absent}."):
            raise FactoryError(f"importing it failed: {error}", place, f"install {absent}") from error
        fix = "install the package, set PYTHONPATH, or run compress in the folder that holds it"
        raise FactoryError(f"there is no module {absent!r}", place, fix) from error
    except (Exception, SystemExit) as error:
        raise FactoryError(f"importing it failed: {summary(error)}", place, "mend the module") from error
    for name in path.split("."):
        if not hasattr(found, name):
            offered = [n for n in vars(found) if not n.startswith("_") and callable(getattr(found, n))][:12]
            fix = f"it has {', '.join(offered)}" if offered else "define it there"
            raise FactoryError(f"{getattr(found, '__name__', module_name)} has no {name!r}", place, fix)
        found = getattr(found, name)
    if not callable(found):
        raise FactoryError(f"it is {type(found).__name__}, nothing to call", place, "name a function")
    try:
        return found(**arguments)
    except CodeRefusedError:
        raise
    except (Exception, SystemExit) as error:
        fix = "mend the function, or the args it is given"
        raise FactoryError(f"it raised {summary(error)}", place, fix) from error


def summary(error: BaseException) -> str:
    """An error in one line: its type, text, and the innermost line of the user's own code that it passed through."""
    text = " ".join(str(error).split())
    head = f"{type(error).__name__}: {text}" if text else type(error).__name__
    line = _own_line(error.__traceback__)
    return f"{head[:300]} ({line})" if line else head[:300]


def _own_line(trace: TracebackType | None) -> str:
    frames = [f for f in traceback.extract_tb(trace) if not _is_library(f.filename)]
    if not frames:
        return ""
    last = frames[-1]
    return f"{last.filename}, line {last.lineno}, in {last.name}"


def _is_library(filename: str) -> bool:
    path = Path(filename)
    ours, standard = Path(__file__).parent, Path(sysconfig.get_path("stdlib"))
    return filename.startswith("<") or "site-packages" in path.parts or bool({ours, standard} & set(path.parents))
