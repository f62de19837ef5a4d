"""A small HTTP server on this machine that speaks as much of the OSF API as a download needs.

It lists nested folders in pages, describes single files, and like OSF redirects a download to a store that
knows byte ranges. `OsfServer.plan` makes single answers misbehave; `OsfServer.log` is what the store sent.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tenuto.data.remote import osf_download

NODE = "abc12"
LONG = bytes(range(256)) * 2400
"""614 400 bytes, several chunks."""
QUICK = (0.0, 0.0, 0.0)
"""No pauses between attempts."""


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def get(server: OsfServer, destination: Path, **options: Any) -> list[Path]:
    """Download the node of a server."""
    return osf_download(NODE, destination, **{"api": server.api, "waits": QUICK, **options})


@dataclasses.dataclass
class Answer:
    """How one request is answered, where not as it should be.

    Args:
        status: Answer with this status and no body.
        headers: Additional headers.
        body: Send this instead of what was asked for.
        cut: Announce the whole body, send so many bytes of it, and close the connection.
        ranges: Whether a Range header is obeyed.
    """

    status: int | None = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    body: bytes | None = None
    cut: int | None = None
    ranges: bool = True


@dataclasses.dataclass(frozen=True)
class Sent:
    """One answer of the store: which file, the Range header that came, and how many bytes went out."""

    name: str
    range: str | None
    size: int


class OsfServer:
    """The server and what it holds: ``add`` files, use as a context manager, read ``log``."""

    def __init__(self, page_size: int = 100) -> None:
        self.page_size = page_size
        self.files: dict[str, bytes] = {}
        self.attributes: dict[str, dict[str, Any]] = {}
        self.plan: dict[str, list[Answer]] = {}
        self.log: list[Sent] = []
        self.encodings: list[str | None] = []
        self.listings = 0
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.osf = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)

    def add(self, name: str, content: bytes, /, **attributes: Any) -> None:
        """Hold a file at a path such as ``Set1/001.mp3``; ``attributes`` replace what the API says of it."""
        self.files[name] = content
        self.attributes[name] = attributes

    def __enter__(self) -> OsfServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    @property
    def host(self) -> str:
        """Address of the server, without a path."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def api(self) -> str:
        """What to hand to ``api=``."""
        return f"{self.host}/v2"

    @property
    def store(self) -> str:
        """Address below which a file has its own name."""
        return f"{self.host}/plain"

    def identifier(self, name: str) -> str:
        """The file id of a path, as in ``osf_file(server.identifier("a.csv"), ...)``."""
        return f"file{list(self.files).index(name)}"

    def name(self, identifier: str) -> str:
        """The path of a file id."""
        return list(self.files)[int(identifier.removeprefix("file"))]

    def entry(self, name: str) -> dict[str, Any]:
        """A file as the API describes it."""
        content = self.files[name]
        attributes: dict[str, Any] = {
            "kind": "file",
            "name": name.split("/")[-1],
            "materialized_path": f"/{name}",
            "size": len(content),
            "extra": {
                "hashes": {
                    "md5": hashlib.md5(content).hexdigest(),
                    "sha256": hashlib.sha256(content).hexdigest(),
                }
            },
        }
        attributes.update(self.attributes[name])
        download = f"{self.host}/download/{self.identifier(name)}/"
        return {"type": "files", "attributes": attributes, "links": {"download": download}}

    def folder(self, path: str) -> list[dict[str, Any]]:
        """The entries directly inside a folder (``""`` for the root): files, then folders."""
        inside = [name for name in self.files if name.startswith(path)]
        files = [self.entry(name) for name in inside if "/" not in name[len(path) :]]
        steps = dict.fromkeys(name[len(path) :].split("/")[0] for name in inside if "/" in name[len(path) :])
        return files + [self._folder_entry(f"{path}{step}/") for step in steps]

    def _folder_entry(self, path: str) -> dict[str, Any]:
        href = f"{self.host}/v2/nodes/{NODE}/files/osfstorage/{path.encode().hex()}/"
        return {
            "type": "files",
            "attributes": {"kind": "folder", "name": path.split("/")[-2], "materialized_path": f"/{path}"},
            "relationships": {"files": {"links": {"related": {"href": href}}}},
            "links": {"download": None},
        }


class _Handler(BaseHTTPRequestHandler):
    @property
    def osf(self) -> OsfServer:
        return self.server.osf  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if result := re.fullmatch(rf"/v2/nodes/{NODE}/files/osfstorage/(?:([0-9a-f]+)/)?", path):
            self._listing(bytes.fromhex(result[1] or "").decode())
        elif result := re.fullmatch(r"/v2/files/(file\d+)/", path):
            self._json({"data": self.osf.entry(self.osf.name(result[1]))}, "file")
        elif result := re.fullmatch(r"/download/(file\d+)/", path):
            self._send(302, b"", {"Location": f"{self.osf.host}/store/{result[1]}"})
        elif result := re.fullmatch(r"/store/(file\d+)", path):
            self._store(self.osf.name(result[1]))
        elif path.startswith("/plain/") and path.removeprefix("/plain/") in self.osf.files:
            self._store(path.removeprefix("/plain/"))
        else:
            self._json({"errors": [{"detail": "Not found."}]}, "unknown", 404)

    def _answer(self, key: str) -> Answer:
        planned = self.osf.plan.get(key, [])
        return planned.pop(0) if planned else Answer()

    def _listing(self, folder: str) -> None:
        self.osf.listings += 1
        query = parse_qs(urlsplit(self.path).query)
        size = min(self.osf.page_size, int(query.get("page[size]", ["10"])[0]))
        page = int(query.get("page", ["1"])[0])
        entries = self.osf.folder(folder)
        following = None
        if len(entries) > page * size:
            following = f"{self.osf.host}{urlsplit(self.path).path}?page={page + 1}&page%5Bsize%5D={size}"
        shown = entries[(page - 1) * size : page * size]
        self._json({"data": shown, "links": {"next": following}}, "listing")

    def _json(self, document: dict[str, Any], key: str, status: int = 200) -> None:
        answer = self._answer(key)
        body = json.dumps(document).encode() if answer.body is None else answer.body
        self._send(answer.status or status, body, answer.headers)

    def _store(self, name: str) -> None:
        answer = self._answer(name)
        body = self.osf.files[name] if answer.body is None else answer.body
        asked = self.headers.get("Range")
        status, headers = answer.status or 200, dict(answer.headers)
        if asked and answer.ranges and status == 200:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            headers.setdefault("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            status, body = (206, body[start:]) if start < len(body) else (416, b"")
        if status >= 300:
            body = b""
        sent = body if answer.cut is None else body[: answer.cut]
        self.osf.encodings.append(self.headers.get("Accept-Encoding"))
        self.osf.log.append(Sent(name, asked, len(sent)))
        self._send(status, sent, {"Content-Length": str(len(body)), **headers})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        with contextlib.suppress(ConnectionError):  # a client may have read enough
            self.end_headers()
            self.wfile.write(body)
