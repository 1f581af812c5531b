"""Ctrl-C and a service manager's stop end a command alike: as KeyboardInterrupt, at a moment that can bear it."""

import signal
import threading
from types import FrameType

PAUSE_S, MOST_PAUSES = 0.02, 500  # a put-off signal comes back so soon; an import of 10 s is interrupted all the same

# An exception in mid-import leaves half a module behind, or aborts the process if a C++ library's own initialisation
# called Python. One that passes through exec() of a string makes Python kill itself at its end (unhandled_keyboard_
# interrupt in CPython's pythonrun.c), whatever the exit code was to be; __del__ swallows it.
_UNSAFE_FILES = ("<frozen importlib", "<string>")


def stop_on_signals() -> None:
    """From now on SIGINT and SIGTERM raise KeyboardInterrupt in the main thread, but not in mid-import.

    One that the process was started to ignore (`nohup`, a shell's background job) stays ignored.
    """
    main = threading.main_thread().ident
    if main is None or threading.get_ident() != main:
        return  # only the main thread may say what signals do
    put_off = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal put_off
        if put_off < MOST_PAUSES and _unsafe(frame):
            put_off += 1
            again = threading.Timer(PAUSE_S, signal.pthread_kill, (main, number))
            again.daemon = True
            again.start()
            return
        put_off = 0
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handle)


def _unsafe(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_UNSAFE_FILES) or frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
