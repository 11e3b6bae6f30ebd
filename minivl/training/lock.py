"""One process at a time writes a run folder; a lock left by a dead process is taken over."""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from minivl.errors import UserError

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file while the body runs; UserError if another process holds it.

    The kernel drops the lock when its holder dies, however it dies; the holder's process
    number and host stand in the file for people, and for hosts whose locks are not seen here.
    """
    handle = _open(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _open(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if not _grasp(handle):
            holder = _holder(handle)
            os.close(handle)
            raise _refusal(path, holder)
        if _still_there(path, handle):
            break
        os.close(handle)  # the holder ended, and removed the file, between our two calls
    holder = _holder(handle)
    if holder.get("host", socket.gethostname()) != socket.gethostname():
        os.close(handle)
        raise _refusal(path, holder)
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
    return handle


def _grasp(handle: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: better to train than to refuse
        return True
    return True


def _still_there(path: Path, handle: int) -> bool:
    try:
        return os.stat(path).st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False


def _holder(handle: int) -> dict:
    try:
        holder = json.loads(os.pread(handle, 1000, 0))
        return holder if isinstance(holder, dict) else {}
    except ValueError:
        return {}


def _refusal(path: Path, holder: dict) -> UserError:
    who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
    return UserError(
        f"{path.parent} is in use by {who}",
        f"wait for it, choose another --out, or, if that process is gone, delete {path}",
    )
