"""Download files, also those of the Open Science Framework (OSF), and unpack archives, checking both.

pooch skips finished files, verifies checksums and moves files into place; this module adds the listing of OSF, retries,
and the continuation of interrupted files, which are called ``NAME.part``.
Source: OSF API v2, https://developer.osf.io ("List all node files", "Retrieve a file", "Errors").
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tenuto.data.archive import path_fault, unzip
from tenuto.errors import DownloadError, counted, one_line, quote
from tenuto.files import naming

if TYPE_CHECKING:
    import requests

OSF_API = "https://api.osf.io/v2"
WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds between attempts, one attempt more than pauses
LONGEST_WAIT = 60.0  # longest pause in seconds a server may ask for; a longer one is an error
TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two packets
CHUNK = 1 << 18  # bytes

Progress = Callable[[str, int, int | None], None]  # (file name, bytes that have arrived, bytes there will be)


class _TransientError(Exception):
    """A failure that may be temporary; ``wait`` is the pause in seconds that the server requests."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclasses.dataclass(frozen=True)
class _Remote:
    """A file as the API describes it; ``name`` is its path below the destination, ``size`` is in bytes."""

    name: str
    url: str
    size: int
    sha256: str


def osf_download(
    node: str,
    destination: Path,
    *,
    select: Callable[[str], bool] | None = None,
    api: str = OSF_API,
    progress: Progress | None = None,
    waits: Sequence[float] = WAITS,
) -> list[Path]:
    """Download the OSF storage of a public node with its folders.

    No file is downloaded before the whole listing has been read and every selected file has a safe path and a checksum.

    Args:
        node: OSF id of the node, such as ``p6vkg``.
        destination: Folder that mirrors the node's; created where missing.
        select: Given a path inside the node (``Set1/001.mp3``), returns whether to download it; all by default.
        api: Address of the API; plain HTTP is accepted for this machine only.
        progress: Called while bytes arrive, and once for a file that exists already.
        waits: Seconds between attempts after a server or network failure.

    Returns:
        Paths of the selected files, sorted by name.

    Raises:
        DownloadError: Node or server not reachable, unusable listing, wrong size or checksum.
        FileError: A file cannot be written, for instance because the disk is full.
    """
    with _client(waits, progress) as client:
        listing = client.entries(f"{_address(api, 'nodes', node)}files/osfstorage/")
        selected = [item for item in listing if select is None or select(item[0])]
        if not selected:
            raise DownloadError(
                f"OSF node {node}: none of its {counted(len(listing), 'file')} is selected. Check the id."
            )
        selected.sort(key=lambda item: item[0])
        if fault := path_fault([name for name, _ in selected], destination):
            raise DownloadError(f"OSF node {node}: {fault}. Download that file by hand.")
        remotes = [_remote(*item) for item in selected]  # all, before the first is downloaded
        return [client.fetch(remote, destination) for remote in remotes]


def osf_file(
    file_id: str,
    destination: Path,
    *,
    api: str = OSF_API,
    progress: Progress | None = None,
    waits: Sequence[float] = WAITS,
) -> Path:
    """Download one public OSF file, such as ``4v3xh``, into a folder, under its name on OSF.

    Args and errors are those of `osf_download`; the id of a folder raises `DownloadError` too.
    """
    with _client(waits, progress) as client:
        url = _address(api, "files", file_id)
        with _shape(url):
            entry = client.json(url)["data"]
            name, kind = str(entry["attributes"]["name"]), entry["attributes"]["kind"]
        fault = f"{name} is a {kind}, not a file" if kind != "file" else path_fault([name], destination)
        if fault:
            raise DownloadError(f"OSF file {file_id}: {fault}. Check the id or download it by hand.")
        return client.fetch(_remote(name, entry), destination)


def archives(
    address: str,
    files: Mapping[str, tuple[int, str]],
    destination: Path,
    *,
    progress: Progress | None = None,
    waits: Sequence[float] = WAITS,
) -> None:
    """Download ZIP archives into a folder and unpack them there.

    Args:
        address: Where they are; a name is appended to it.
        files: Name -> size in bytes and SHA-256.
        destination: Folder for the archives and their content.
        progress: As in `osf_download`; also ``waits``.

    Raises:
        DownloadError: An archive cannot be reached, or has another size or checksum.
        FileError: An archive cannot be unpacked, or a file not be written.
    """
    with _client(waits, progress) as client:
        for name, (size, sha256) in files.items():
            unzip(client.fetch(_Remote(name, f"{address}/{name}", size, sha256), destination), destination)


class _Client:
    """One HTTP session that repeats requests after temporary failures."""

    def __init__(self, session: requests.Session, waits: Sequence[float], progress: Progress | None) -> None:
        self.session = session
        self.waits = waits
        self.progress: Progress = progress or (lambda name, done, total: None)

    def entries(self, url: str) -> list[tuple[str, dict[str, Any]]]:
        """(path, API entry) of every file below a folder: its pages, then those of the folders inside it."""
        # OSF answers 100 anonymous requests an hour, so request its largest pages.
        largest = "?page[size]=100"
        pending, urls_seen, files = [url + largest], set[str](), []
        while pending:
            url = pending.pop(0)
            if url in urls_seen:
                raise DownloadError(f"{url}: the listing leads back to itself. Download the files by hand.")
            urls_seen.add(url)
            document = self.json(url)
            with _shape(url):
                for entry in document["data"]:
                    if entry["attributes"]["kind"] == "folder":
                        pending.append(entry["relationships"]["files"]["links"]["related"]["href"] + largest)
                    else:
                        files.append((entry["attributes"]["materialized_path"].removeprefix("/"), entry))
                pending += filter(None, [document["links"].get("next")])
        return files

    def json(self, url: str) -> Any:
        """The JSON document at an address, of any shape."""

        def attempt() -> bytes:
            with self._get(url, {}) as response:
                _check_status(response, url)
                return b"".join(_chunks(response, url))

        try:
            return json.loads(self._persist(url, attempt))
        except (ValueError, RecursionError) as error:
            raise DownloadError(f"{url}: the answer is not JSON. Does a login page replace it?") from error

    def fetch(self, remote: _Remote, destination: Path) -> Path:
        """Download one file unless it exists; what an earlier command left of it is continued."""
        import pooch

        path = destination / remote.name
        part = path.with_name(f"{path.name}.part")
        with naming(path, "write"):
            for place in (path, part):
                if place.exists() and not place.is_file():
                    raise DownloadError(
                        f"{place}: is no regular file. Remove it, then run the same command again."
                    )
            was_interrupted = part.is_file()
        requests: list[str] = []

        def download(url: str, temporary: str, _: object) -> None:
            requests.append(url)
            os.unlink(temporary)  # pooch's; a killed process would leave it
            self._persist(url, lambda: self._receive(remote, part))
            os.replace(part, temporary)

        pooch.get_logger().setLevel("WARNING")  # it would print every file
        where: dict[str, Any] = {"fname": path.name, "path": path.parent}
        try:
            with naming(path, "write"):
                path.parent.mkdir(parents=True, exist_ok=True)
                pooch.retrieve(remote.url, f"sha256:{remote.sha256}", **where, downloader=download)
        except ValueError as error:
            if was_interrupted:  # the part may belong to another version: download once more, from byte 0
                return self.fetch(remote, destination)
            raise DownloadError(
                f"{remote.url}: {remote.name} does not have the published size of {remote.size} bytes and SHA-256 "
                f"{remote.sha256}; it was removed. Run the same command again; if that changes nothing, write to the "
                "owner of the data."
            ) from error
        if not requests:  # the file existed
            self.progress(remote.name, remote.size, remote.size)
        return path

    def _receive(self, remote: _Remote, part: Path) -> None:
        """Append the missing bytes to ``part``; start again where it is too long or the server knows no ranges."""
        received = part.stat().st_size if part.is_file() else 0
        if received == remote.size > 0:
            return
        start = received if received < remote.size else 0
        with self._get(remote.url, {"Range": f"bytes={start}-"} if start else {}) as response:
            partial = response.status_code == 206
            span = response.headers.get("Content-Range", "")
            if response.status_code == 416 or (partial and not span.startswith(f"bytes {start}-")):
                with naming(part, "remove"):
                    part.unlink(missing_ok=True)
                raise _TransientError(f"the server could not continue {remote.name} at byte {start}")
            _check_status(response, remote.url)
            received = start if partial else 0
            with naming(part, "write"), open(part, "ab" if received else "wb") as stream:
                for chunk in _chunks(response, remote.url):
                    stream.write(chunk)
                    received += len(chunk)
                    self.progress(remote.name, received, remote.size)
                    if received > remote.size:  # an endless answer must not fill the disk
                        break
                stream.flush()
                os.fsync(stream.fileno())
        if received < remote.size:
            raise _TransientError(f"the connection closed after {received} of {remote.size} bytes")

    @contextlib.contextmanager
    def _get(self, url: str, headers: dict[str, str]) -> Iterator[requests.Response]:
        with _network(url):
            response = self.session.get(url, headers=headers, stream=True, timeout=TIMEOUT)
        with response:
            yield response

    def _persist(self, url: str, attempt: Callable[[], Any]) -> Any:
        """Repeat an attempt after each pause; report the last failure."""
        for pause in (*self.waits, None):
            try:
                return attempt()
            except _TransientError as error:
                if pause is None:
                    raise DownloadError(
                        f"{url}: {error}, after {counted(len(self.waits) + 1, 'attempt')}. Check the network and "
                        "HTTPS_PROXY, then run the same command again; finished parts are kept."
                    ) from error
                time.sleep(max(pause, error.wait))


@contextlib.contextmanager
def _client(waits: Sequence[float], progress: Progress | None) -> Iterator[_Client]:
    """A client whose session uses plain HTTP for this machine only, redirects included."""
    import requests
    from requests.adapters import HTTPAdapter

    class LoopbackOnly(HTTPAdapter):
        def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
            if urlsplit(request.url or "").hostname not in ("localhost", "127.0.0.1", "::1"):
                raise DownloadError(f"{request.url}: plain HTTP can be altered on its way. Use https.")
            return super().send(request, *args, **kwargs)

    with requests.Session() as session:
        session.mount("http://", LoopbackOnly())
        session.headers["Accept-Encoding"] = "identity"  # the bytes of a range would have another meaning
        yield _Client(session, waits, progress)


@contextlib.contextmanager
def _network(url: str) -> Iterator[None]:
    """Turn the failures of `requests` into temporary ones and those that another attempt cannot repair."""
    import requests

    try:
        yield
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        root: BaseException = error  # the outer layers only repeat the address
        while (inner := root.__cause__ or root.__context__) is not None:
            root = inner
        raise _TransientError(f"cannot be reached ({one_line(root)})") from error
    except requests.RequestException as error:
        raise DownloadError(f"{url}: cannot be downloaded ({one_line(error)}). Check the address.") from error


def _chunks(response: requests.Response, url: str) -> Iterator[bytes]:
    # A generator, so that `_network` sees failures of the network and not those of the caller.
    with _network(url):
        yield from response.iter_content(CHUNK)


def _check_status(response: requests.Response, url: str) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    answer = f"the server answered {status} {one_line(response.reason)}"
    if status == 429 or status >= 500:
        wait = float(re.sub(r"\D.*", "", response.headers.get("Retry-After", "")) or 0)
        if wait <= LONGEST_WAIT:
            raise _TransientError(answer, wait)
        fix = f"Run the same command again in {wait / 60:.0f} minutes; finished parts are kept"
    elif status in (401, 403):
        fix = "It is not public; ask its owner for the files"
    else:
        fix = "Check the id; the files may have been moved or removed"
    raise DownloadError(f"{url}: {answer}. {fix}.")


def _address(api: str, collection: str, identifier: str) -> str:
    if re.fullmatch(r"[0-9A-Za-z]+", identifier):
        return f"{api.rstrip('/')}/{collection}/{identifier}/"
    raise DownloadError(f"{quote(identifier)} is not an OSF id. Give letters and digits, such as p6vkg.")


@contextlib.contextmanager
def _shape(source: str) -> Iterator[None]:
    """Turn what a document of another shape raises into a `DownloadError`."""
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        raise DownloadError(
            f"{source}: the description is not that of the OSF API ({type(error).__name__}: {one_line(error)}). "
            "Update Tenuto, or download the files by hand."
        ) from error


def _remote(name: str, entry: dict[str, Any]) -> _Remote:
    """A file of the listing. Raises `DownloadError` for one without size or checksum."""
    with _shape(name):
        url, size = str(entry["links"]["download"]), entry["attributes"].get("size")
        hashes = (entry["attributes"].get("extra") or {}).get("hashes") or {}
        sha256 = str(hashes.get("sha256")).lower()
    if not isinstance(size, int) or not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise DownloadError(f"OSF lists {one_line(name)} without its size or SHA-256. Download it by hand.")
    return _Remote(name, url, size, sha256)
