"""The process that keeps a session: it detaches itself, holds the lock, and alone removes the job's folder."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from compress.devices.agent.place import Place, free_bytes, sha256_file, write_whole

POLL_S = 0.2
MOST_LOG_BYTES = 64 << 20


class Supervisor:
    """Lives as long as the session: starts the command, ends it, removes the folder."""

    def __init__(self, place: Place, request: dict[str, Any]) -> None:
        self.place, self.job, self.id = place, place.job, request["job"]
        self.grace_s = request["grace_s"]
        self.process: subprocess.Popen[bytes] | NeverStarted | None = None
        self.started = self.limit_s = self.wall_s = 0.0

    def run(self) -> None:
        """Until the session is over. Whatever happens, no process of the job and no folder stays."""
        for name in (signal.SIGHUP, signal.SIGINT):
            signal.signal(name, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        seen, since = b"", time.monotonic()
        try:
            while not (self.job / "end").exists():
                lease = (self.job / "lease").read_bytes()
                if lease != seen:
                    seen, since = lease, time.monotonic()
                elif time.monotonic() - since > self.grace_s:
                    return
                self.step()
                time.sleep(POLL_S)
        finally:
            self.kill()
            shutil.rmtree(self.job, ignore_errors=True)

    def step(self) -> None:
        """Start the command once it is there; see whether it has ended or must."""
        if self.process is None:
            if (self.job / "go").exists():
                self.start(json.loads((self.job / "go").read_text()))
            return
        if (self.job / "done").exists():
            return
        code = self.process.poll()
        if code is not None:
            self.finish("ended", code)
        elif (self.job / "stop").exists():
            self.finish("stopped")
        elif time.monotonic() - self.started > self.limit_s:
            self.finish("time limit")
        elif (self.job / "log").stat().st_size > MOST_LOG_BYTES:
            self.finish("log too large")

    def start(self, go: dict[str, Any]) -> None:
        """The command in a session of its own, its output in `log`."""
        self.started, self.limit_s, self.wall_s = time.monotonic(), go["timeout_s"], time.time()
        work = self.job / "work"
        python_path = [str(work / "lib"), *map(str, sorted(self.place.root.glob("site-*")))]
        python_path += filter(None, [os.environ.get("PYTHONPATH")])
        environment = {**os.environ, "COMPRESS_JOB": self.id, "PYTHONPATH": os.pathsep.join(python_path),
                       "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip
        command = [sys.executable if word == "{python}" else word for word in go["command"]]
        with open(self.job / "log", "wb") as log:
            try:
                self.process = subprocess.Popen(  # noqa: S603 - the job is the purpose
                    command, cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                    start_new_session=True)  # fmt: skip
            except OSError as error:
                log.write(f"{command[0]}: {error.strerror}\n".encode())
                self.process = NeverStarted()

    def finish(self, reason: str, code: int | None = None) -> None:
        """Kill what is left and say how it ended, with the sum of each result."""
        self.kill()
        seconds, free = time.monotonic() - self.started, free_bytes(self.job)
        (self.job / "reserve").unlink(missing_ok=True)
        out, results = self.job / "work" / "out", []
        for path in sorted(out.rglob("*")):
            if stat.S_ISREG(path.lstat().st_mode):
                results.append({"path": path.relative_to(out).as_posix(), "size": path.stat().st_size,
                                "sha256": sha256_file(path)})  # fmt: skip
        jump_s = (time.time() - self.wall_s) - seconds
        done = {"reason": reason, "code": code, "seconds": seconds, "clock_jump_s": round(jump_s, 3),
                "free_bytes": free, "results": results}  # fmt: skip
        write_whole(self.job / "done", json.dumps(done).encode())

    def kill(self) -> None:
        """Every process of the job: its session, and whoever left that but carries its mark."""
        if self.process is None:
            return
        for number, patience_s in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
            limit = time.monotonic() + patience_s
            while left := processes_of(self.process.pid, self.id):
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
                self.process.poll()
                if time.monotonic() > limit:
                    break
                time.sleep(0.05)
        self.process.poll()


class NeverStarted:
    """A command that could not even be started."""

    pid = -1

    def poll(self) -> int:
        """As a shell says it."""
        return 127


def processes_of(session: int, job: str) -> list[int]:
    """Process ids of a session, and those with COMPRESS_JOB=job in their environment; without zombies and ourselves."""
    if not os.path.isdir("/proc/self"):
        return []
    mark, found = b"COMPRESS_JOB=" + job.encode(), []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            fields = Path("/proc", name, "stat").read_text(errors="replace").rpartition(")")[2].split()
            if fields[0] in "ZX":
                continue
            if int(fields[3]) == session or mark in Path("/proc", name, "environ").read_bytes().split(b"\0"):
                found.append(int(name))
        except (OSError, IndexError):
            continue
    return found
