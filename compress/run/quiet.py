"""LiteRT says on stderr that it made its XNNPACK delegate, once in a process; it has no switch for that."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

_NOTICE = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU."


@contextlib.contextmanager
def without_engine_notice() -> Iterator[None]:
    """Hold back what is written to file descriptor 2, and pass on at the end all but that line.

    For the command's own process and around short work in one thread only: a library has no business with descriptor 2.
    """
    try:
        real = os.dup(2)
    except OSError:  # stderr is closed
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(real, 2)
            os.close(real)
            held.seek(0)
            with contextlib.suppress(OSError):
                os.write(2, b"".join(line for line in held if line.strip() != _NOTICE))
