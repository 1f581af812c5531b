"""A TCP proxy that can lose the link: bytes stop for a while, as when Wi-Fi drops, and nobody is told."""

import contextlib
import socket
import threading
import time


class Proxy:
    """127.0.0.1:port -> target, until `cut`."""

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._up = threading.Event()
        self._up.set()
        self._sockets: set[socket.socket] = set()
        self._closed = False
        self.passed_bytes = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._up.set()
        self._listener.close()
        self.drop()

    def drop(self) -> None:
        """Reset every connection."""
        for s in list(self._sockets):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()
        self._sockets.clear()

    def cut(self, seconds: float, resets: bool = False) -> None:
        """Nothing passes for so long, new connections wait too; then all goes on, or (resets) what was open is dead."""
        self._up.clear()
        time.sleep(seconds)
        if resets:
            self.drop()
        self._up.set()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
                self._up.wait()
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                continue
            self._sockets |= {near, far}
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                self._up.wait()
                sink.sendall(data)
                self.passed_bytes += len(data)
        except OSError:
            pass
        for s in (source, sink):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
