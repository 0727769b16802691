"""A model hub on this machine that speaks the protocol of Hugging Face's, and can be told to fail in the ways that hubs and networks do."""

import hashlib
import json
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = 4096
"""Files from this size on are in large-file storage, behind a redirect."""


class Asked(NamedTuple):
    """One request as it came."""

    method: str
    path: str
    range: str | None
    token: str | None


@dataclass(slots=True)
class Repo:
    """A repository at one commit."""

    files: dict[str, bytes]
    commit: str = "a" * 40
    tags: tuple[str, ...] = ("mlx",)
    downloads: int = 10
    config: dict[str, object] = field(default_factory=dict[str, object])
    token: str | None = None
    """Who does not send it gets 401."""
    gated: bool = False
    """Nobody has accepted its terms yet: 403."""
    revisions: tuple[str, ...] = ("main",)


@dataclass(slots=True)
class FakeHub:
    """What the hub has, what it was asked, and what goes wrong."""

    repos: dict[str, Repo] = field(default_factory=dict[str, Repo])
    url: str = ""
    asked: list[Asked] = field(default_factory=list[Asked])
    refuse: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict[str, list[tuple[int, dict[str, str]]]])
    """Part of a path: answers that requests for it get first, one each."""
    cuts: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    """File: after how many bytes connections break off, one each."""
    damage: dict[str, int] = field(default_factory=dict[str, int])
    """File: how many answers have a wrong byte."""
    ignores_ranges: bool = False
    hold: dict[str, int] = field(default_factory=dict[str, int])
    """File: after how many bytes an answer waits for `go`."""
    held: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, files: dict[str, bytes], **more: object) -> Repo:
        """A repository with its config.json read as the hub does."""
        config = json.loads(files.get("config.json", b"{}"))
        self.repos[name] = Repo(files=files, config=config, **more)  # pyright: ignore[reportArgumentType]
        return self.repos[name]

    def add_folder(self, name: str, folder: Path) -> Repo:
        """A repository with the files of `folder`."""
        return self.add(name, {path.name: path.read_bytes() for path in folder.iterdir()})

    def downloads(self, name: str) -> list[Asked]:
        """Requests for the content of a large file."""
        return [asked for asked in self.asked if asked.method == "GET" and asked.path.startswith("/cdn/") and asked.path.endswith(name)]

    def take(self, table: dict[str, list[int]], name: str) -> int | None:
        """The next of `table` for `name`."""
        with self.lock:
            waiting = table.get(name)
            return waiting.pop(0) if waiting else None

    def refusal(self, path: str) -> tuple[int, dict[str, str]] | None:
        """The next answer of `refuse` for `path`."""
        with self.lock:
            return next((answers.pop(0) for part, answers in self.refuse.items() if part in path and answers), None)

    def damaged(self, name: str, content: bytes) -> bytes:
        """The content, wrong in its middle if that is due."""
        with self.lock:
            left = self.damage.get(name, 0)
            self.damage[name] = max(0, left - 1)
        if not left:
            return content
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


@contextmanager
def serving(hub: FakeHub) -> Generator[FakeHub]:
    """`hub` on a free port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.go.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def _route(self) -> None:
        parts = urlsplit(self.path)
        path, token = unquote(parts.path), (self.headers.get("authorization") or "").removeprefix("Bearer ") or None
        self.hub.asked.append(Asked(self.command, path, self.headers.get("range"), token))
        refused = self.hub.refusal(path)
        if refused is not None:
            self._send(refused[0], b"no", refused[1])
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", path):
            self._describe(match[1], match[2], match[3], token)
        elif path == "/api/models":
            self._search(parse_qs(parts.query))
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(match[1], match[2], match[3], token)
        elif match := re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path):
            self._content(self.hub.repos[match[1]].files[match[2]], match[2], {})
        else:
            self._send(404, b"{}", {})

    def _open(self, name: str, token: str | None) -> Repo | None:
        """The repository, unless it may not be seen: then that is answered."""
        repo = self.hub.repos.get(name)
        if repo is None or (repo.token is not None and token != repo.token):
            self._send(401 if token is None else 404, b"{}", {"x-error-code": "RepoNotFound"})
            return None
        return repo

    def _describe(self, name: str, what: str | None, revision: str | None, token: str | None) -> None:
        repo = self._open(name, token)
        if repo is None:
            return
        if revision not in {None, repo.commit, *repo.revisions}:
            self._send(404, b"{}", {"x-error-code": "RevisionNotFound"})
        elif what == "tree":
            self._json([{"type": "file", "path": path, **_facts(content)} for path, content in repo.files.items()])
        else:
            self._json(_document(name, repo, blobs="blobs" in self.path))

    def _search(self, query: dict[str, list[str]]) -> None:
        words, tags = query.get("search", [""])[0].lower(), query.get("filter", [])
        found = [
            (name, repo)
            for name, repo in self.hub.repos.items()
            if words in name.lower() and all(tag in repo.tags for tag in tags) and repo.token is None
        ]
        found.sort(key=lambda item: -item[1].downloads)
        self._json([_document(name, repo, blobs=False) for name, repo in found[: int(query.get("limit", ["1000"])[0])]])

    def _resolve(self, name: str, revision: str, path: str, token: str | None) -> None:
        repo = self._open(name, token)
        if repo is None:
            return
        if repo.gated:
            self._send(403, b"{}", {"x-error-code": "GatedRepo"})
            return
        content = repo.files.get(path)
        if content is None or revision not in {repo.commit, *repo.revisions}:
            self._send(404, b"{}", {"x-error-code": "EntryNotFound"})
            return
        headers = {"x-repo-commit": repo.commit}
        if len(content) < LARGE:
            self._content(content, path, {**headers, "etag": f'"{_git_oid(content)}"'})
            return
        # another host than the hub's, as with the real one
        linked = {"x-linked-etag": f'"{hashlib.sha256(content).hexdigest()}"', "x-linked-size": str(len(content))}
        self._send(302, b"", {**headers, **linked, "location": f"{self.hub.url.replace('127.0.0.1', 'localhost')}/cdn/{name}/{path}"})

    def _content(self, whole: bytes, name: str, headers: dict[str, str]) -> None:
        content = self.hub.damaged(name, whole) if self.command == "GET" else whole
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range") or "")
        begin = int(asked[1]) if asked and not self.hub.ignores_ranges else 0
        if begin and begin >= len(content):
            self._send(416, b"", {"content-range": f"bytes */{len(content)}"})
            return
        self.send_response(206 if begin else 200)
        for key, value in headers.items():
            self.send_header(key, value)
        if begin:
            self.send_header("content-range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("content-length", str(len(content) - begin))
        self.end_headers()
        if self.command == "GET":
            self._write(content[begin:], name)

    def _write(self, content: bytes, name: str) -> None:
        cut = self.hub.take(self.hub.cuts, name)
        hold = self.hub.hold.get(name)
        try:
            if cut is not None:
                self.wfile.write(content[:cut])
                self.close_connection = True
                self.connection.shutdown(2)
                return
            if hold is not None and not self.hub.go.is_set():
                self.wfile.write(content[:hold])
                self.wfile.flush()
                self.hub.held.set()
                self.hub.go.wait()
                content = content[hold:]
            self.wfile.write(content)
        except OSError:  # the client went away
            self.close_connection = True

    def _json(self, document: object) -> None:
        self._send(200, json.dumps(document).encode(), {"content-type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def digest_of(content: bytes) -> str:
    """The checksum under which the hub and the cache know a file."""
    return hashlib.sha256(content).hexdigest() if len(content) >= LARGE else _git_oid(content)


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _facts(content: bytes) -> dict[str, object]:
    """Size and checksums as the tree listing has them."""
    if len(content) < LARGE:
        return {"size": len(content), "oid": _git_oid(content)}
    sha256 = hashlib.sha256(content).hexdigest()
    return {"size": len(content), "oid": _git_oid(sha256.encode()), "lfs": {"oid": sha256, "size": len(content), "pointerSize": 130}}


def _document(name: str, repo: Repo, *, blobs: bool) -> dict[str, object]:
    siblings: list[dict[str, object]] = [
        {"rfilename": path, **(_sibling(content) if blobs else {})} for path, content in repo.files.items()
    ]
    counted = {"BF16": sum(len(content) // 2 for path, content in repo.files.items() if path.endswith(".safetensors"))}
    return {
        "id": name,
        "sha": repo.commit,
        "private": repo.token is not None,
        "gated": "manual" if repo.gated else False,
        "downloads": repo.downloads,
        "likes": 3,
        "lastModified": "2026-05-01T12:00:00.000Z",
        "createdAt": "2026-04-01T12:00:00.000Z",
        "tags": list(repo.tags),
        "config": {key: value for key, value in repo.config.items() if key in {"model_type", "architectures", "quantization_config"}},
        "safetensors": {"parameters": counted, "total": counted["BF16"]} if counted["BF16"] else None,
        "siblings": siblings,
    }


def _sibling(content: bytes) -> dict[str, object]:
    facts = _facts(content)
    large = facts.get("lfs")
    if not isinstance(large, dict):
        return {"size": facts["size"], "blobId": facts["oid"]}
    return {"size": facts["size"], "blobId": facts["oid"], "lfs": {"sha256": large["oid"], "size": facts["size"], "pointerSize": 130}}
