"""Fetch files from the Open Science Framework (OSF) and unpack archives, trusting neither.

A file grows as ``NAME.part`` and takes its real name once its size and SHA-256 are those the API announced.
So an interrupted command is simply run again: what is finished is skipped, a ``.part`` is continued.
Source: OSF API v2, https://developer.osf.io ("List all node files", "Retrieve a file", "Errors").
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import stat
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from tenuto.errors import DownloadError, FileError
from tenuto.files import naming, sha256_file, write_bytes

if TYPE_CHECKING:
    import requests

OSF_API = "https://api.osf.io/v2"
WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds between attempts, one attempt more than pauses
LONGEST_WAIT = 60.0  # seconds a server may ask for; beyond that the user is told, not kept waiting
TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two packets
CHUNK = 1 << 18  # bytes

Progress = Callable[[str, int, int | None], None]  # (file name, bytes that have arrived, bytes there will be)
Result = TypeVar("Result")


class _TransientError(Exception):
    """A failure that may pass; ``wait`` is the pause in seconds that the server asked for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclasses.dataclass(frozen=True)
class _Remote:
    """A file as the API announces it; ``name`` is its path below the destination, ``size`` in bytes."""

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
    """Download the OSF storage of a public node, folders and all.

    No file is fetched before the whole listing was read and every chosen file in it found safe and checkable.

    Args:
        node: OSF id of the node, such as ``p6vkg``.
        destination: Folder that mirrors the node's; created where missing.
        select: Given a path inside the node (``Set1/001.mp3``), says whether it is wanted; all by default.
        api: Address of the API; plain HTTP is accepted for this machine only.
        progress: Called while bytes arrive, and once for a file that is there already.
        waits: Seconds between attempts after a server or network failure.

    Returns:
        Paths of the chosen files, sorted by name.

    Raises:
        DownloadError: Node or server out of reach, unusable listing, wrong size or checksum.
        FileError: A file cannot be written, for instance because the disk is full.
    """
    with _client(waits, progress) as client:
        listing = client.entries(f"{_address(api, 'nodes', node)}files/osfstorage/")
        wanted = [item for item in listing if select is None or select(item[0])]
        if not wanted:
            raise DownloadError(f"OSF node {node}: none of its {len(listing)} files is wanted. Check the id.")
        wanted.sort(key=lambda item: item[0])
        fault = _fault([name for name, _ in wanted], destination)
        if fault:
            raise DownloadError(f"OSF node {node}: {fault}. Download that file by hand.")
        remotes = [_remote(*item) for item in wanted]  # all, before the first is fetched
        return [client.fetch(remote, destination) for remote in remotes]


def osf_file(
    file_id: str,
    destination: Path,
    *,
    api: str = OSF_API,
    progress: Progress | None = None,
    waits: Sequence[float] = WAITS,
) -> Path:
    """Download one public OSF file, such as ``4v3xh``, into a folder, under the name it has there.

    Args and errors are those of `osf_download`; an id that is a folder's raises `DownloadError` too.
    """
    with _client(waits, progress) as client:
        url = _address(api, "files", file_id)
        with _shape(url):
            entry = client.json(url)["data"]
            name, kind = str(entry["attributes"]["name"]), entry["attributes"]["kind"]
        fault = f"{name} is a {kind}, wanted a file" if kind != "file" else _fault([name], destination)
        if fault:
            raise DownloadError(f"OSF file {file_id}: {fault}. Check the id or download it by hand.")
        return client.fetch(_remote(name, entry), destination)


def unzip(archive: Path, destination: Path, *, max_bytes: int = 2**31, max_files: int = 10**5) -> list[Path]:
    """Unpack a ZIP archive, or refuse it before anything is written.

    Args:
        archive: A ZIP file, its members stored or deflated.
        destination: Folder to unpack into; files that are there already are replaced.
        max_bytes: Largest declared size of all members together. It bounds the real size too: `zipfile` cuts
            a member where its declared size ends, and what was cut fails the CRC.
        max_files: Largest number of members.

    Returns:
        Paths of the unpacked files in archive order.

    Raises:
        FileError: Missing, damaged, encrypted or oversized archive; a member that is a link, is listed twice
            or would land outside ``destination``; a file that cannot be written.
    """
    with naming(archive, "read"), _sound(archive), zipfile.ZipFile(archive) as content:
        files = [member for member in content.infolist() if not member.orig_filename.endswith("/")]
        size = sum(member.file_size for member in files)
        if not 0 < len(files) <= max_files or size > max_bytes:
            raise FileError(
                f"{archive}: holds {len(files)} files of {size} bytes, wanted 1 to {max_files} files of at "
                f"most {max_bytes} bytes. If you trust it, unpack it by hand."
            )
        faults = filter(None, map(_member_fault, files))
        fault = next(faults, None) or _fault([member.orig_filename for member in files], destination)
        if fault:
            raise FileError(f"{archive}: member {fault}. Ask for another copy, or unpack it by hand.")
        damaged = content.testzip()
        if damaged is not None:
            raise FileError(f"{archive}: damaged at {damaged!r}. Delete it and download it again.")
        return [write_bytes(destination / member.filename, content.read(member)) for member in files]


class _Client:
    """One HTTP session that retries what may pass, and says in one sentence what did not."""

    def __init__(self, session: requests.Session, waits: Sequence[float], progress: Progress | None) -> None:
        self.session = session
        self.waits = waits
        self.progress: Progress = progress or (lambda name, done, total: None)

    def entries(self, url: str) -> list[tuple[str, dict[str, Any]]]:
        """(path, API entry) of every file below a folder: its pages, then those of the folders inside it."""
        # OSF answers 100 anonymous requests an hour, so its largest pages are asked for.
        largest = "?page[size]=100"
        pending, seen, found = [url + largest], set[str](), []
        while pending:
            url = pending.pop(0)
            if url in seen:
                raise DownloadError(f"{url}: the listing leads back to itself. Download the files by hand.")
            seen.add(url)
            document = self.json(url)
            with _shape(url):
                for entry in document["data"]:
                    if entry["attributes"]["kind"] == "folder":
                        pending.append(entry["relationships"]["files"]["links"]["related"]["href"] + largest)
                    else:
                        found.append((entry["attributes"]["materialized_path"].removeprefix("/"), entry))
                pending += filter(None, [document["links"].get("next")])
        return found

    def json(self, url: str) -> Any:
        """What an address answers, parsed from JSON; its shape is checked where it is read."""

        def attempt() -> bytes:
            with self._get(url, {}) as response:
                _check_status(response, url)
                return b"".join(_chunks(response, url))

        try:
            return json.loads(self._persist(url, attempt))
        except ValueError as error:
            raise DownloadError(f"{url}: did not answer in JSON. Is a login page in the way?") from error

    def fetch(self, remote: _Remote, destination: Path) -> Path:
        """Bring one announced file to its place, unless it is there."""
        path = destination / remote.name
        if path.is_file() and sha256_file(path) == remote.sha256:
            self.progress(remote.name, remote.size, remote.size)
            return path
        part = path.with_name(f"{path.name}.part")
        with naming(path, "write"):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._persist(remote.url, lambda: self._complete(remote, part))
        with naming(path, "write"):
            os.replace(part, path)
        return path

    def _complete(self, remote: _Remote, part: Path) -> None:
        """Make ``part`` whole from where it stands and check it; a wrong one is removed."""
        held = part.stat().st_size if part.is_file() else 0
        start = held if held <= remote.size else 0
        if start == 0 or start < remote.size:
            self._receive(remote, part, start)
        size, digest = part.stat().st_size, sha256_file(part)
        if (size, digest) == (remote.size, remote.sha256):
            return
        with naming(part, "remove"):
            part.unlink()
        came = f"{remote.name} came as {size} bytes with SHA-256 {digest}"
        if start:  # what an earlier command left may belong to another version: once more, from byte 0
            raise _TransientError(came)
        raise DownloadError(
            f"{remote.url}: {came}, wanted {remote.size} bytes with {remote.sha256}; it was removed. "
            "Run the same command again; if that changes nothing, tell the owner of the data."
        )

    def _receive(self, remote: _Remote, part: Path, start: int) -> None:
        """Append what follows byte ``start``, or begin anew where the server knows no ranges."""
        with self._get(remote.url, {"Range": f"bytes={start}-"} if start else {}) as response:
            partial = response.status_code == 206
            span = response.headers.get("Content-Range", "")
            if response.status_code == 416 or (partial and not span.startswith(f"bytes {start}-")):
                with naming(part, "remove"):
                    part.unlink(missing_ok=True)
                raise _TransientError(f"the server could not continue {remote.name} at byte {start}")
            _check_status(response, remote.url)
            done = start if partial else 0
            with naming(part, "write"), open(part, "ab" if done else "wb") as stream:
                for chunk in _chunks(response, remote.url):
                    stream.write(chunk)
                    done += len(chunk)
                    self.progress(remote.name, done, remote.size)
                    if done > remote.size:  # an endless answer must not fill the disk
                        break
                stream.flush()
                os.fsync(stream.fileno())
        if done < remote.size:
            raise _TransientError(f"the connection closed after {done} of {remote.size} bytes")

    @contextlib.contextmanager
    def _get(self, url: str, headers: dict[str, str]) -> Iterator[requests.Response]:
        # In a compressed answer the byte positions of a range would mean something else.
        headers = {"Accept-Encoding": "identity", **headers}
        with _network(url):
            response = self.session.get(url, headers=headers, stream=True, timeout=TIMEOUT)
        with response:
            yield response

    def _persist(self, url: str, attempt: Callable[[], Result]) -> Result:
        """Repeat an attempt after each pause; the last failure is the one reported."""
        pauses = iter(self.waits)
        while True:
            try:
                return attempt()
            except _TransientError as error:
                pause = next(pauses, None)
                if pause is None:
                    raise DownloadError(
                        f"{url}: {error}, after {len(self.waits) + 1} attempts. Check the network and "
                        "HTTPS_PROXY, then run the same command again; what has arrived is kept."
                    ) from error
                time.sleep(max(pause, error.wait))


@contextlib.contextmanager
def _client(waits: Sequence[float], progress: Progress | None) -> Iterator[_Client]:
    """A client whose session speaks plain HTTP with this machine only, redirects included."""
    import requests
    from requests.adapters import HTTPAdapter

    class LoopbackOnly(HTTPAdapter):
        def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
            if urlsplit(request.url or "").hostname not in ("localhost", "127.0.0.1", "::1"):
                raise DownloadError(f"{request.url}: plain HTTP can be altered on its way. Use https.")
            return super().send(request, *args, **kwargs)

    with requests.Session() as session:
        session.mount("http://", LoopbackOnly())
        yield _Client(session, waits, progress)


@contextlib.contextmanager
def _network(url: str) -> Iterator[None]:
    """Sort the failures of `requests`: those that may pass, and those that another attempt cannot mend."""
    import requests

    try:
        yield
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        root: BaseException = error  # the outer layers only repeat the address
        while (inner := root.__cause__ or root.__context__) is not None:
            root = inner
        raise _TransientError(f"cannot be reached ({root})") from error
    except requests.RequestException as error:
        raise DownloadError(f"{url}: cannot be fetched ({error}). Check the address.") from error


def _chunks(response: requests.Response, url: str) -> Iterator[bytes]:
    # A generator, so that `_network` sees the failures of the network and none of its consumer's.
    with _network(url):
        yield from response.iter_content(CHUNK)


def _check_status(response: requests.Response, url: str) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    came = f"the server answered {status} {response.reason}"
    if status == 429 or status >= 500:
        asked = response.headers.get("Retry-After", "")
        wait = float(asked) if asked.isdecimal() else 0.0
        if wait <= LONGEST_WAIT:
            raise _TransientError(came, wait)
        mend = f"Run the same command again in {wait / 60:.0f} minutes; what has arrived is kept"
    elif status in (401, 403):
        mend = "It is not public; ask its owner for the files"
    else:
        mend = "Check the id; the files may have been moved or withdrawn"
    raise DownloadError(f"{url}: {came}. {mend}.")


def _address(api: str, collection: str, identifier: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z]+", identifier):
        raise DownloadError(f"{identifier!r} is no OSF id. Give letters and digits, such as p6vkg.")
    return f"{api.rstrip('/')}/{collection}/{identifier}/"


@contextlib.contextmanager
def _shape(source: str) -> Iterator[None]:
    """What reading a document of another shape raises, as one sentence."""
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        raise DownloadError(
            f"{source}: not described as the OSF API does ({type(error).__name__}: {error}). "
            "Look for a newer Tenuto, or download the files by hand."
        ) from error


def _remote(name: str, entry: dict[str, Any]) -> _Remote:
    """A file of the listing; one that could not be checked is refused."""
    with _shape(name):
        url, size = str(entry["links"]["download"]), entry["attributes"].get("size")
        hashes = (entry["attributes"].get("extra") or {}).get("hashes") or {}
        sha256 = str(hashes.get("sha256")).lower()
    if not isinstance(size, int) or not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise DownloadError(f"OSF lists {name} without its size or SHA-256. Download it by hand.")
    return _Remote(name, url, size, sha256)


def _fault(names: Iterable[str], destination: Path) -> str | None:
    """The first of these relative paths that is unsafe to write below ``destination``, and why."""
    taken: set[str] = set()
    for name in names:
        if name.startswith("/") or PureWindowsPath(name).drive:
            return f"{name!r} is an absolute path"
        if re.search(r"[\\\x00-\x1f]", name) or not {"", ".", ".."}.isdisjoint(name.split("/")):
            return f"{name!r} is not a plain path (an empty or dotted step, a backslash, a control character)"
        if not (destination / f"{name}.part").resolve().is_relative_to(destination.resolve()):
            return f"{name!r} leads out of {destination} through a link"
        if not taken.isdisjoint((name, f"{name}.part")):
            return f"{name!r} is listed twice"
        taken.update((name, f"{name}.part"))
    return None


@contextlib.contextmanager
def _sound(archive: Path) -> Iterator[None]:
    """What `zipfile` raises on a damaged archive, as one sentence."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise FileError(f"{archive}: damaged or no ZIP file ({error}). Download it again.") from error


def _member_fault(member: zipfile.ZipInfo) -> str | None:
    """Why a member cannot be accepted, apart from its name."""
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        return f"{member.filename!r} is a link or device, wanted a plain file"
    if b"PK\x01\x02" in member.comment + member.extra:  # an altered length: the next members became a comment
        return f"{member.filename!r} hides another member"
    if member.flag_bits & 0x1:
        return f"{member.filename!r} is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"{member.filename!r} is neither stored nor deflated (method {member.compress_type})"
    return None
