"""Unpack ZIP archives that others made, or refuse them before anything is written."""

from __future__ import annotations

import contextlib
import re
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PureWindowsPath

from tenuto.errors import FileError, counted, one_line
from tenuto.files import naming, write_bytes


def unzip(archive: Path, destination: Path, *, max_bytes: int = 2**31, max_files: int = 10**5) -> list[Path]:
    """Unpack a ZIP archive, or refuse it before anything is written.

    Args:
        archive: A ZIP file, its members stored or deflated.
        destination: Folder to unpack into; existing files are replaced.
        max_bytes: Largest declared size of all members together. It limits the real size too: `zipfile` stops reading a
            member at its declared size, and the CRC of a longer one is wrong.
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
                f"{archive}: contains {counted(len(files), 'file')} of {counted(size, 'byte')}; allowed are 1 to "
                f"{max_files} files of at most {max_bytes} bytes. If you trust it, unpack it by hand."
            )
        faults = filter(None, map(_member_fault, files))
        if fault := next(faults, None) or path_fault([member.orig_filename for member in files], destination):
            raise FileError(f"{archive}: member {fault}. Ask for another copy, or unpack it by hand.")
        if (damaged := content.testzip()) is not None:
            raise FileError(f"{archive}: damaged at {damaged!r}. Delete it and download it again.")
        return [write_bytes(destination / member.orig_filename, content.read(member)) for member in files]


def path_fault(names: Iterable[str], destination: Path) -> str | None:
    """The first of these relative paths that is unsafe to write below ``destination``, with the reason."""
    used_paths: set[str] = set()
    for name in names:
        if name.startswith("/") or PureWindowsPath(name).drive:
            return f"{name!r} is an absolute path"
        if re.search(r"[\\\x00-\x1f]", name) or not {"", ".", ".."}.isdisjoint(name.split("/")):
            return f"{name!r} is not a plain path (it has an empty part, dots, a backslash or a control character)"
        if not (destination / f"{name}.part").resolve().is_relative_to(destination.resolve()):
            return f"{name!r} leads out of {destination} through a link"
        if not used_paths.isdisjoint((name, f"{name}.part")):
            return f"{name!r} is listed twice"
        used_paths.update((name, f"{name}.part"))
    return None


@contextlib.contextmanager
def _sound(archive: Path) -> Iterator[None]:
    """Turn what `zipfile` raises on a damaged archive into a `FileError`."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise FileError(
            f"{archive}: damaged or not a ZIP file ({one_line(error)}). Download it again."
        ) from error


def _member_fault(member: zipfile.ZipInfo) -> str | None:
    """Why a member cannot be accepted, apart from its name."""
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        return f"{member.filename!r} is a link or device, not a plain file"
    if b"PK\x01\x02" in member.comment + member.extra:  # an altered length: the next members became a comment
        return f"{member.filename!r} hides another member"
    if member.flag_bits & 0x1:
        return f"{member.filename!r} is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"{member.filename!r} is neither stored nor deflated (method {member.compress_type})"
    return None
