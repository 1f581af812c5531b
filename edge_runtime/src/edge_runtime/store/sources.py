"""Where a new bundle comes from: a folder, or the http(s) address of one. Bytes in, nothing trusted.

A bundle has no archive format: its manifest names every file with size and checksum. So any static web server can
serve one, each file is bounded before it is fetched, a broken download goes on where it stopped, and a file that the
store already has is not fetched again.
"""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol
from urllib.parse import quote, urljoin, urlsplit

from edge_runtime.errors import BundleError, StoreError
from edge_runtime.files import read_file

if TYPE_CHECKING:
    from edge_runtime.files import FileInfo

_CHUNK = 1 << 16
_TRIES, _PAUSE_S = 4, 0.5
_LARGEST_TOKEN_BYTES = 4096


class Source(Protocol):
    """A bundle somewhere."""

    name: str

    def small(self, path: str, largest: int) -> bytes | None:
        """Content of a small file; None if it is not there."""

    def fetch(self, path: str, info: FileInfo, target: Path) -> None:
        """Write a file of the bundle to target; at most info.size_bytes. What target holds already may be kept."""


def open_source(source: str | os.PathLike[str], *, token: str | None = None, timeout_s: float = 30.0) -> Source:
    """A folder's path, or the http(s) URL of a folder (or of its manifest.json).

    token: sent as `Authorization: Bearer`, to the host of the URL alone. timeout_s: for each answer of the server.

    Raises:
        StoreError: another scheme, or a URL that is none.
    """
    text = os.fspath(source)
    if "://" not in text:
        return FolderSource(Path(text))
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query
    except ValueError:
        good = False
    if not good:
        fix = "give a folder, or the http(s) URL of a folder that holds manifest.json"
        raise StoreError("this address is not one of a bundle", text, fix)
    if parts.username or parts.password:
        raise StoreError("a password in the address ends up in logs", parts.hostname or "", "use --token-file")
    return HttpSource(text, token, timeout_s)


def read_token(path: Path) -> str:
    """The one token in a file.

    Raises:
        StoreError: the file cannot be read, or holds none or several.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_TOKEN_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"no token can be read: {error}", str(path), "give a file that holds the token") from error
    if not text or not text.isprintable() or " " in text:
        raise StoreError("it holds no token, or more than one line", str(path), "give a file that holds the token")
    return text


class FolderSource:
    """A bundle on this machine: another folder, a mounted stick."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.name = folder, str(folder)

    def small(self, path: str, largest: int) -> bytes | None:
        """Content of a file of the folder; None if it is not there. Raises BundleError for links and oversize."""
        if not self._folder.is_dir():
            raise BundleError("no such folder", self.name, "give the folder that holds manifest.json")
        return read_file(self._folder, path, largest=largest) if os.path.lexists(self._folder / path) else None

    def fetch(self, path: str, info: FileInfo, target: Path) -> None:
        """Copy, replacing what is there."""
        data = read_file(self._folder, path, largest=info.size_bytes)
        with target.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


class HttpSource:
    """A bundle on a web server. Redirects are followed to http(s) only, never from https to http."""

    def __init__(self, url: str, token: str | None, timeout_s: float) -> None:
        base = url[: -len("manifest.json")] if url.endswith("/manifest.json") else url
        self.name = base if base.endswith("/") else base + "/"
        self._token, self._timeout_s = token, timeout_s
        self._opener = urllib.request.build_opener(_Redirects())

    def small(self, path: str, largest: int) -> bytes | None:
        """Content of a file; None if the server has none (404, 410).

        Raises:
            StoreError: the server cannot be reached, refuses, or sends more than `largest` bytes.
        """
        for pause_s in _pauses():
            try:
                with self._open(path, 0) as answer:
                    data = answer.read(largest + 1)
                break
            except urllib.error.HTTPError as error:
                if error.code in (404, 410):
                    return None
                self._give_up_or_wait(error, path, pause_s)
            except (OSError, HTTPException) as error:
                self._give_up_or_wait(error, path, pause_s)
        if len(data) > largest:
            raise StoreError(f"more than {largest:,} bytes", self.name + path, "is this the address of a bundle?")
        return data

    def fetch(self, path: str, info: FileInfo, target: Path) -> None:
        """Download, going on where an earlier try stopped.

        Raises:
            StoreError: the server cannot be reached, refuses, or sends another size than promised.
        """
        where = self.name + path
        with target.open("ab") as file:
            for pause_s in _pauses():
                try:
                    self._append(path, info, file)
                    break
                except (OSError, HTTPException) as error:
                    if isinstance(error, OSError) and error.errno is not None and not _is_network(error):
                        raise  # of the disk
                    self._give_up_or_wait(error, path, pause_s)
            size = file.tell()
            file.flush()
            os.fsync(file.fileno())
        if size != info.size_bytes:
            target.unlink()
            what = f"the server sent {size:,} bytes, the manifest promises {info.size_bytes:,}"
            raise StoreError(what, where, "put the whole bundle on the server again")

    def _append(self, path: str, info: FileInfo, file: IO[bytes]) -> None:
        """Whatever is missing of a file; raises IncompleteRead-like errors when the connection ends early."""
        have = file.seek(0, os.SEEK_END)
        if have >= info.size_bytes:
            return
        with self._open(path, have) as answer:
            if answer.status != 206 or not str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-"):
                file.truncate(0)  # a server that knows no ranges sends everything
                file.seek(have := 0)
            while have <= info.size_bytes:
                block = answer.read(min(_CHUNK, info.size_bytes + 1 - have))
                if not block:
                    break
                file.write(block)
                have += len(block)
        file.flush()
        if have < info.size_bytes:
            raise ConnectionError(f"the connection ended after {have:,} of {info.size_bytes:,} bytes")

    def _open(self, path: str, start: int) -> HTTPResponse:
        headers = {"User-Agent": "edge-runtime", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        request = urllib.request.Request(urljoin(self.name, quote(path)), headers=headers)  # noqa: S310 (http(s) only)
        if self._token:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        answer: HTTPResponse = self._opener.open(request, timeout=self._timeout_s)
        return answer

    def _give_up_or_wait(self, error: Exception, path: str, pause_s: float | None) -> None:
        """Sleep before the next try of something that may pass by itself; raise for what will not, or at the end."""
        if isinstance(error, urllib.error.HTTPError):
            passing, what = error.code >= 500 or error.code == 429, f"the server answered {error.code} {error.reason}"
            fix = "check the token" if error.code in (401, 403) else "check the address; is the bundle there?"
        else:
            reason = getattr(error, "reason", None) or error
            passing, what = True, f"the download failed: {reason}"[:300]
            fix = "check address and network and run the update again: it goes on where it stopped"
        if not passing or pause_s is None:
            raise StoreError(what, self.name + path, fix) from error
        time.sleep(pause_s)


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new not in ("http", "https") or (old == "https" and new == "http"):
            raise StoreError(f"the server redirects from {old} to {new}", req.full_url, "give the final https address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _pauses() -> list[float | None]:
    """Seconds to wait after each failed try; None after the last."""
    return [*(_PAUSE_S * 2**i for i in range(_TRIES - 1)), None]


def _is_network(error: OSError) -> bool:
    return isinstance(error, (urllib.error.URLError, ConnectionError, TimeoutError)) or type(error).__module__ == "ssl"
