"""A small hub on this machine that speaks what is needed of both APIs, and can misbehave."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub.uploads import Uploads

_PIECE = 1 << 16
_LFS = (".safetensors", ".bin", ".parquet")


def is_lfs(path: str) -> bool:
    """Whether the hub names the file's sha256, not git's sha1."""
    return path.endswith(_LFS)


def blob_name(path: str, data: bytes) -> str:
    """Return what Hugging Face's cache calls the blob of a file."""
    if is_lfs(path):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Asked:
    """One line of the server's log."""

    method: str
    path: str
    file: str
    """The file of the repository; "" where it is about a list."""

    start: int
    """First byte that was asked for."""

    host: str
    secret: str
    """Token that came along, in whatever way."""

    status: int = 0
    sent: int = 0
    """Bytes of the body that were sent."""


@dataclass
class World:
    """Repositories, knobs and a log. A knob's key is a file's path in its repository."""

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """"models/org/name" -> path -> bytes."""

    log: list[Asked] = field(default_factory=list)
    cut: dict[str, list[int]] = field(default_factory=dict)
    """Bytes of the file at which the connection is cut, each once."""

    at: dict[str, tuple[int, Callable[[], None]]] = field(default_factory=dict)
    """Once so many bytes are sent, this is done and the connection ends."""

    pace: float = 0.0
    """Seconds of rest after each piece of 64 KiB."""

    corrupt: dict[str, int] = field(default_factory=dict)
    """How often the file is sent with its middle byte flipped."""

    refuse: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    """Answers given first; the key "" is for lists."""

    elsewhere: str = ""
    """Address to which files are redirected; "" for none."""

    whole: bool = False
    """Range is passed over."""

    stale: set[str] = field(default_factory=set)
    """Files of which the server has one byte less than its list says."""

    token: str = ""
    """Token that all must bring."""

    page: int = 1000
    """Files on one page of a list (Hugging Face)."""

    private: set[str] = field(default_factory=set)
    """Repositories that only a token shows."""

    licenses: dict[str, str] = field(default_factory=dict)
    """Repository -> the licence it was made with (ModelScope)."""

    branches: set[tuple[str, str]] = field(default_factory=set)
    """(repository, branch) that were made besides the main one; all hold the same files."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    """sha256 -> contents that were uploaded, committed or not."""

    commits: list[tuple[str, list[str]]] = field(default_factory=list)
    """(repository, paths) of each commit."""

    cut_up: list[int] = field(default_factory=list)
    """Bytes of an upload after which the connection is cut, for one upload each."""

    stored: Event = field(default_factory=Event)
    """Set once an upload is whole."""

    when_cut: Callable[[], None] | None = None
    """Done when an upload is cut."""

    port: int = 0
    lock: Lock = field(default_factory=Lock)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def other_address(self) -> str:
        """The same server under another host's name."""
        return f"http://localhost:{self.port}"

    def commit(self, repo: str) -> str:
        """Return the sha of a repository's only commit."""
        total = hashlib.sha1(repo.encode())
        for path, data in sorted(self.repos[repo].items()):
            total.update(path.encode() + data)
        return total.hexdigest()

    def starts(self, file: str) -> list[int]:
        """Return the first bytes of all that was asked of a file with GET, in order."""
        return [a.start for a in self.log if a.file == file and a.method == "GET"]

    def take(self, knob: dict[str, Any], key: str) -> Any:
        """Return and use up what a knob of lists or counts has for a key."""
        with self.lock:
            left = knob.get(key)
            if not left:
                return None
            if isinstance(left, list):
                return left.pop(0)
            knob[key] = left - 1
            return left


@contextmanager
def serving(world: World) -> Iterator[World]:
    """Serve a world within the block."""

    class Handler(_Handler):
        pass

    Handler.world = world
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    world.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield world
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(Uploads):
    world: World
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:  # noqa: N802 - the library calls it so
        self._safely()

    def do_GET(self) -> None:  # noqa: N802 - the library calls it so
        self._safely()

    def do_POST(self) -> None:  # noqa: N802 - the library calls it so
        self._safely()

    def do_PUT(self) -> None:  # noqa: N802 - the library calls it so
        self._safely()

    def _safely(self) -> None:
        try:
            self._route()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _route(self) -> None:
        url = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(url.query, keep_blank_values=True).items()}
        parts = [unquote(p) for p in url.path.strip("/").split("/")]
        cookie = self.headers.get("Cookie") or ""
        secret = self.headers.get("Authorization") or cookie
        start = (self.headers.get("Range") or "bytes=0-")[6:].split("-")[0]
        self.asked = Asked(
            method=self.command,
            path=self.path,
            file="",
            start=int(start or 0),
            host=self.headers.get("Host") or "",
            secret=secret,
        )
        with self.world.lock:
            self.world.log.append(self.asked)
        if self.command in ("POST", "PUT"):
            self.write(parts)
        elif parts[:2] == ["api", "v1"]:
            self._modelscope(parts[2:], query)
        elif parts[0] == "api":
            self._huggingface(parts[1:], query)
        elif "resolve" in parts:
            self._resolve(parts)
        elif parts[0] == "elsewhere":
            repo, file = "/".join(parts[1:4]), "/".join(parts[4:])
            self._file(repo, file, {})
        else:
            self._json(404, {"error": "no such page"})

    def _repo(self, name: str) -> dict[str, bytes] | None:
        repo = self.world.repos.get(name)
        if repo is None:
            self._json(404, {"error": "no such"}, {"X-Error-Code": "RepoNotFound"})
        elif self.world.token and self.world.token not in self.asked.secret:
            self._json(401, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
            return None
        return repo

    def _huggingface(self, parts: list[str], query: Mapping[str, str]) -> None:
        kind, id = parts[0], "/".join(parts[1:3])
        name = f"{kind}/{id}"
        repo = self._repo(name)
        if repo is None or self._refused(""):
            return
        commit = self.world.commit(name)
        revision = parts[4] if len(parts) > 4 else "main"
        known = ("main", commit, *(b for n, b in self.world.branches if n == name))
        if revision not in known:
            self._json(404, {"error": "no"}, {"X-Error-Code": "RevisionNotFound"})
        elif len(parts) < 4 or parts[3] == "revision":
            siblings = [{"rfilename": path} for path in repo]
            facts = {"id": id, "modelId": id, "sha": commit, "siblings": siblings, "tags": []}
            private = name in self.world.private
            self._json(200, {**facts, "private": private, "gated": False, "downloads": 0})
        else:
            entries = [_hf_entry(path, data) for path, data in sorted(repo.items())]
            begin = int(query.get("cursor", "0"))
            end = begin + self.world.page
            link = f'<https://hub.invalid/tree?cursor={end}>; rel="next"'
            self._json(200, entries[begin:end], {"Link": link} if end < len(entries) else {})

    def _resolve(self, parts: list[str]) -> None:
        kind = "models"
        if parts[0] == "datasets":
            kind, parts = "datasets", parts[1:]
        name, file = f"{kind}/{'/'.join(parts[:2])}", "/".join(parts[4:])
        repo = self._repo(name)
        if repo is None:
            return
        if file not in repo:
            self._json(404, {"error": "no"}, {"X-Error-Code": "EntryNotFound"})
            return
        tag = blob_name(file, repo[file])
        extra = {"X-Repo-Commit": self.world.commit(name), "ETag": f'"{tag}"'}
        if is_lfs(file):
            extra |= {"X-Linked-Etag": f'"{tag}"', "X-Linked-Size": str(len(repo[file]))}
        self._file(name, file, extra)

    def _modelscope(self, parts: list[str], query: Mapping[str, str]) -> None:
        kind, id = parts[0], "/".join(parts[1:3])
        name = f"{kind}/{id}"
        if kind not in ("models", "datasets") or len(parts) < 3:
            self._json(404, {"Code": 404, "Success": False, "Message": "no such"})
            return
        repo = self._repo(name)
        if repo is None:
            return
        if parts[3:] == ["repo"] and "FilePath" in query:
            if query["FilePath"] not in repo:
                self._json(404, {"Code": 404, "Success": False, "Message": "no such file"})
            else:
                self._file(name, query["FilePath"], {})
        elif parts[3:] in (["repo", "files"], ["repo", "tree"]):
            if self._refused(""):
                return
            if query.get("Revision") != "master":
                self._json(404, {"Code": 404, "Success": False, "Message": "no such revision"})
                return
            commit = self.world.commit(name)
            entries = [_ms_entry(path, data, commit) for path, data in sorted(repo.items())]
            if "PageSize" in query:
                size, number = int(query["PageSize"]), int(query["PageNumber"])
                entries = entries[size * (number - 1) : size * number]
            self._json(200, {"Code": 200, "Success": True, "Data": {"Files": entries}})
        else:
            sees = 1 if name in self.world.private else 5
            data = {"Name": id, "Revision": "master", "Visibility": sees}
            self._json(200, {"Code": 200, "Success": True, "Data": data})

    def _refused(self, key: str) -> bool:
        said = self.world.take(self.world.refuse, key)
        if said is None:
            return False
        self._json(said[0], {"error": "not now"}, said[1])
        return True

    def _file(self, repo: str, file: str, extra: dict[str, str]) -> None:
        world = self.world
        away = urlsplit(self.path).path.startswith("/elsewhere/")
        if world.elsewhere and not away:
            where = f"{world.elsewhere}/elsewhere/{repo}/{file}"
            self._send(302, b"", {**extra, "Location": where})
            return
        self.asked.file = file
        if self._refused(file):
            return
        data = world.repos[repo][file]
        if file in world.stale:
            data = data[:-1]
        start = 0 if world.whole else self.asked.start
        if start and start >= len(data):
            self._send(416, b"", {**extra, "Content-Range": f"bytes */{len(data)}"})
            return
        if self.command == "GET" and data and world.take(world.corrupt, file):
            middle = max(start, len(data) // 2)
            data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        extra = {**extra, "Accept-Ranges": "bytes"}
        ranged = "Range" in self.headers and not world.whole
        if ranged:
            extra["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(206 if ranged else 200, data[start:], extra, at=start)

    def _json(self, status: int, value: Any, extra: Mapping[str, str] | None = None) -> None:
        head = {"Content-Type": "application/json", **(extra or {})}
        self._send(status, json.dumps(value).encode(), head)

    def _send(self, status: int, body: bytes, extra: Mapping[str, str], at: int = 0) -> None:
        self.asked.status = status
        self.send_response(status)
        for key, value in extra.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self._pieces(body, at)

    def _pieces(self, body: bytes, at: int) -> None:
        """Send a body that begins at byte `at` of its file, up to where a knob ends it."""
        world, file = self.world, self.asked.file
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PIECE)
        stop, act = len(body), None
        with world.lock:
            cuts = world.cut.get(file, [])
            if file and cuts and at <= cuts[0] < at + len(body):
                stop = cuts.pop(0) - at
            elif file in world.at and at <= world.at[file][0] < at + len(body):
                end, act = world.at.pop(file)
                stop = end - at
        for begin in range(0, stop, _PIECE):
            piece = body[begin : min(begin + _PIECE, stop)]
            self.wfile.write(piece)
            self.asked.sent += len(piece)
            if world.pace:
                time.sleep(world.pace)
        if act is not None:
            act()
        if stop < len(body):
            self.close_connection = True


def _hf_entry(path: str, data: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": oid}
    if is_lfs(path):
        oid = hashlib.sha256(data).hexdigest()
        entry["lfs"] = {"oid": oid, "size": len(data), "pointerSize": 134}
    return entry


def _ms_entry(path: str, data: bytes, commit: str) -> dict[str, Any]:
    return {
        "Name": path.split("/")[-1],
        "Path": path,
        "Type": "blob",
        "Size": len(data),
        "Sha256": hashlib.sha256(data).hexdigest(),
        "Revision": commit,
        "IsLFS": is_lfs(path),
        "CommittedDate": 1_760_000_000,
    }
