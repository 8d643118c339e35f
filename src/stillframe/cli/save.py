"""An image's bytes into a file: hashed on the way, whole under its name or not there at all."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TextIO

from stillframe.cli.client import Client
from stillframe.cli.exits import Exit
from stillframe.cli.meter import Meter, meter_for
from stillframe.errors.client import ImageNotSaved

CHUNK = 1 << 20
ZEROS = bytes(CHUNK)


@dataclass(frozen=True, slots=True)
class Saved:
    """What was written; `compared`: the hash is the image's."""

    size: int
    sha256: str
    compared: bool


def save(
    client: Client, image: Mapping[str, Any], path: Path, *, overwrite: bool = False, stream: TextIO | None = None
) -> Saved:
    """Downloads the image to the path; raises ImageNotSaved, or what the service answers. Mode 0600."""
    failed = _failure(image["id"], path)
    if image["status"] != "active":
        raise failed(f"it is {image['status']}, not active")
    if not overwrite and os.path.lexists(path):
        raise failed("the file exists (--overwrite replaces it)")
    with _terminated_cleanly(), closing(meter_for(stream or sys.stderr, image.get("size"))) as meter:
        try:
            return _saved(client, image, path, overwrite, meter)
        except FileExistsError as error:
            raise failed("the file exists (--overwrite replaces it)") from error
        except OSError as error:  # requests' own failures are OSErrors, too
            raise failed(error.strerror or str(error)) from error


def _saved(client: Client, image: Mapping[str, Any], path: Path, overwrite: bool, meter: Meter) -> Saved:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file, client.image_data(image["id"], CHUNK) as chunks:
            saved = _compared(image, path, *_written(file, chunks, meter))
            os.fsync(file.fileno())
        if overwrite:
            part.replace(path)
        else:
            _rename_to_new(part, path)
    finally:
        part.unlink(missing_ok=True)
    return saved


def _rename_to_new(part: Path, path: Path) -> None:
    """Raises FileExistsError rather than replace what came to be there meanwhile."""
    try:
        path.hardlink_to(part)
    except FileExistsError:
        raise
    except OSError:  # a filesystem without hard links
        if os.path.lexists(path):
            raise
        part.rename(path)


def _written(file: IO[bytes], chunks: Iterator[bytes], meter: Meter) -> tuple[int, str]:
    """Size and hash of what came."""
    digest = hashlib.sha256()
    size = 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        if chunk == ZEROS[: len(chunk)]:
            file.seek(len(chunk), os.SEEK_CUR)
        else:
            file.write(chunk)
        meter.advance(len(chunk))
    file.truncate(size)
    return size, digest.hexdigest()


def _compared(image: Mapping[str, Any], path: Path, size: int, sha256: str) -> Saved:
    """Raises ImageNotSaved unless size and hash are the image's, as far as it has them."""
    failed = _failure(image["id"], path)
    if image.get("size") is not None and size != image["size"]:
        raise failed(f"{size} bytes came instead of {image['size']}")
    wanted = image.get("os_hash_value") if image.get("os_hash_algo") == "sha256" else None
    if wanted and wanted != sha256:
        raise failed(f"its sha256 is {wanted}, but that of what came is {sha256}")
    return Saved(size, sha256, compared=bool(wanted))


def _failure(image_id: str, path: Path) -> Callable[[str], ImageNotSaved]:
    return lambda reason: ImageNotSaved(image=image_id, path=path, reason=reason)


@contextmanager
def _terminated_cleanly() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C meanwhile, so that the temporary file goes."""

    def stop(*_: object) -> None:
        raise SystemExit(Exit.TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
