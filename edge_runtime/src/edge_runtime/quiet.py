"""LiteRT says on stderr that it made its XNNPACK delegate, once in a process; it has no switch for that."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

_NOTICE = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU."


@contextlib.contextmanager
def without_engine_notice() -> Iterator[None]:
    """Hold back what is written to file descriptor 2, and pass on at the end all but that line.

    For a command's own process, around short work in one thread: a library has no business with descriptor 2.
    """
    try:
        real = os.dup(2)
    except OSError:  # stderr is closed
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(tempfile.TemporaryFile())
        except OSError:  # nowhere to write, as on a device with a full disk
            os.close(real)
            yield
            return
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(real, 2)
            os.close(real)
            held.seek(0)
            with contextlib.suppress(OSError):
                os.write(2, b"".join(line for line in held if line.strip() != _NOTICE))
