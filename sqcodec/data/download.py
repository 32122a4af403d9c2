"""Large archives over unreliable lines: continued where they broke off, checked, tried again, unpacked safely."""

from __future__ import annotations

import hashlib
import logging
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from http.client import HTTPException
from pathlib import Path

log = logging.getLogger(__name__)

BLOCK = 1 << 20


def fetch(url: str, target: Path, checksum: str, tries: int = 5, wait: float = 2.0) -> Path:
    """Downloads ``url`` to ``target``, or finds it there, whole.

    What is already there in ``target.partial`` is continued. A copy with another checksum is deleted and fetched
    once more from its start.

    Args:
        checksum: "md5:..." or "sha256:..." (hex).
        tries: how often a broken connection or a corrupt copy is tried again.
        wait: seconds before the first new try, doubled each time.
    Raises:
        OSError: nothing worked; the message says what happened last.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    problem = ""
    for attempt in range(tries):
        if attempt:
            log.warning("%s: %s; trying again", url, problem)
            time.sleep(wait * 2 ** (attempt - 1))
        try:
            _receive(url, partial)
        except (urllib.error.URLError, HTTPException, OSError) as error:
            problem = str(error) or type(error).__name__
            if isinstance(error, urllib.error.HTTPError) and error.code in (403, 404, 410):
                break
            continue
        found = digest(partial, checksum.partition(":")[0])
        if found == checksum.partition(":")[2]:
            partial.replace(target)
            return target
        problem = f"the copy is corrupt (its checksum is {found})"
        partial.unlink()
    raise OSError(f"Could not download '{url}': {problem}. The command continues where it stopped; see --mirror.")


def _receive(url: str, partial: Path) -> None:
    """Appends what ``partial`` lacks. Raises OSError where the connection ended early."""
    start = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # nothing is left to send
            return
        raise
    with answer:
        continued = answer.status == 206
        expected = answer.headers.get("Content-Length")
        received = 0
        with partial.open("ab" if continued else "wb") as file:
            while block := answer.read(BLOCK):
                file.write(block)
                received += len(block)
    if expected is not None and received < int(expected):
        raise OSError(f"the connection ended after {received} of {expected} bytes")


def digest(path: Path, algorithm: str) -> str:
    """Hex digest of a file by the named algorithm of hashlib."""
    state = hashlib.new(algorithm)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            state.update(block)
    return state.hexdigest()


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a .tar.gz or .zip; a member that would land outside ``folder`` is a ValueError. Done once."""
    done = folder / f".{archive.name}.unpacked"
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    root = folder.resolve()
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            _check_names(packed.namelist(), root)
            packed.extractall(folder)
    else:
        with tarfile.open(archive) as packed_tar:
            members = [member for member in packed_tar.getmembers() if member.isfile() or member.isdir()]
            _check_names([member.name for member in members], root)
            packed_tar.extractall(folder, members=members)
    done.touch()


def _check_names(names: list[str], root: Path) -> None:
    for name in names:
        if not (root / name).resolve().is_relative_to(root):
            raise ValueError(f"The archive holds '{name}', which would land outside '{root}'.")
