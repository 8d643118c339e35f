"""Images in a directory: ID.FORMAT holds the bytes, ID.json says that they are published.

Nothing is ever replaced: names are given by hard links, which fail where a name is taken. Besides, ID.part is an image
that is being written, ID.json.part its record, and ID.gone the record of one that is being deleted. A crash between any
two steps leaves what `halves` tells, `publish` goes on with, and `discard` and `tidy` remove.

An image with a location has no bytes here: ID.json is all of it, and its backing removes what the location names.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from stillframe import failpoints
from stillframe.errors.base import StillframeError
from stillframe.errors.capture import DeadlineExceeded, WriteFailed
from stillframe.errors.request import ImageNotFound
from stillframe.errors.service import ImageElsewhere, ImageExists, ImageInUse, StoreUnusable
from stillframe.images import record
from stillframe.images.locations import Backing, NoBacking
from stillframe.model import UUID, Image

LOG = logging.getLogger(__name__)
LOCK_NAME = ".lock"
LOCK_TIMEOUT = 30.0  # seconds; it is held for a few fsyncs of small files
LOCK_POLL = 0.005


@dataclass(frozen=True, slots=True)
class Half:
    """Something in the directory that is not a published image, and why."""

    image_id: str
    name: str  # the file's
    reason: str


class DirectoryStore:
    """A directory of images, usable by any number of threads and processes."""

    def __init__(self, path: Path, backing: Backing | None = None, *, rbd_locations: bool = False) -> None:
        """`backing` removes what locations name; with `rbd_locations` images may be published by one on RBD."""
        self.path = path
        self._backing = backing or NoBacking()
        self._rbd_locations = rbd_locations
        self._read: dict[str, tuple[tuple[int, int, int], Image]] = {}  # what a record said, and when
        self._read_lock = Lock()

    def prepare(self) -> None:
        """Makes the directory (0700) unless it is there, and tries what publishing needs; raises StoreUnusable."""
        trial, link = self.path / ".trial", self.path / ".trial.link"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._alone():
                _write_durably(trial, b"")
                link.unlink(missing_ok=True)
                os.link(trial, link)
                trial.unlink()
                link.unlink()
                self._sync()
        except OSError as error:
            raise self._unusable(error) from error

    def check(self) -> None:
        """Cheap, for health checks; raises StoreUnusable."""
        if not self.path.is_dir():
            raise StoreUnusable(store="directory", reason="it does not exist", operator=str(self.path))
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise StoreUnusable(store="directory", reason="it may not be written", operator=str(self.path))

    def free(self) -> int:
        """Bytes that may still be written; raises StoreUnusable."""
        try:
            room = os.statvfs(self.path)
        except OSError as error:
            raise self._unusable(error) from error
        return room.f_bavail * room.f_frsize

    # ------------------------------------------------------------------------------------------------- publishing

    def location_obstacle(self, fsid: str, pool: str) -> str | None:  # noqa: ARG002 - of any cluster and pool
        """Why no image is published by a location in this pool; None when it can be."""
        return None if self._rbd_locations else "the image directory takes no locations ([images] rbd_locations)"

    def published(self, image_id: str) -> bool:
        """Whether everybody sees it."""
        return self._record(image_id).exists()

    def part(self, image_id: str) -> Path:
        """Where the image's bytes are to be written first; raises ImageNotFound for what is no UUID."""
        return self.path / f"{record.checked(image_id)}.part"

    def publish(self, image: Image) -> None:
        """Makes the part an image: all durable, data before record, nothing replaced. Doing it again is fine.

        `image` needs its size, disk_format and what `record.same` compares. Raises ImageExists, WriteFailed, and
        ImageNotFound when a published image is deleted meanwhile.
        """
        part, data, final = self.part(image.id), self._data(image), self._record(image.id)
        try:
            published = final.exists()
            if not published:  # before the lock: this may take seconds
                self._expect_whole(image, part if part.exists() else data)
            with self._alone():
                if published or final.exists():
                    self._expect_same(image)
                else:
                    if image.location is None:
                        self._place_data(image, part, data)
                        failpoints.reached("image.data.placed")
                    self._place_record(image, final)
                    failpoints.reached("image.record.placed")
                self._clear(part)
        except OSError as error:
            raise WriteFailed(offset=0, reason=error.strerror, operator=str(error)) from error

    def _expect_whole(self, image: Image, data: Path) -> None:
        """All bytes are there for good, here or where the location says; raises ImageNotFound once it is deleted."""
        if image.location is None:
            _make_durable(data, image.size)
        elif self._record(image.id).with_suffix(".gone").exists():
            raise ImageNotFound(image=image.id)
        else:
            self._backing.expect(image)

    def _expect_same(self, image: Image) -> None:
        if not record.same(self.get(image.id), image):
            raise ImageExists(image=image.id)

    def _place_data(self, image: Image, part: Path, data: Path) -> None:
        """Gives the bytes their name; after a crash it may be theirs already."""
        if part.exists():
            try:
                os.link(part, data)
            except FileExistsError:
                if not part.samefile(data):
                    raise ImageExists(image=image.id, operator=str(data)) from None
            part.unlink()
        data.stat()  # nothing is said to be there that is not
        self._sync()

    def _clear(self, part: Path) -> None:
        """Removes what a publication that was interrupted near its end leaves beside the image."""
        part.unlink(missing_ok=True)
        part.with_suffix(".json.part").unlink(missing_ok=True)

    def _place_record(self, image: Image, final: Path) -> None:
        draft = self.path / f"{image.id}.json.part"
        _write_durably(draft, record.dumps(image).encode())
        os.link(draft, final)
        draft.unlink()
        self._sync()

    # ---------------------------------------------------------------------------------------------------- reading

    def get(self, image_id: str) -> Image:
        """Raises ImageNotFound, also for a damaged record, which the operator's part then tells."""
        try:
            return self._load(image_id)
        except FileNotFoundError as error:
            raise ImageNotFound(image=image_id) from error
        except (OSError, record.RecordError) as error:
            raise ImageNotFound(image=image_id, operator=str(error)) from error

    def images(self) -> Iterator[Image]:
        """The published images, newest first (then by id); damaged ones are left to `halves`. Raises StoreUnusable."""
        with self._read_lock:
            self._refresh()
            images = [image for _, image in self._read.values()]
        images.sort(key=lambda image: image.id)
        images.sort(key=lambda image: image.created_at, reverse=True)
        return iter(images)

    def _refresh(self) -> None:
        """Reads the records that are new or changed since the last time: listing thousands takes a stat of each."""
        current = {}
        for image_id, ending, entry in self._files():
            if ending != "json":
                continue
            try:
                status = entry.stat()
                stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
                known = self._read.get(image_id)
                unchanged = known is not None and known[0] == stamp
                current[image_id] = known if known and unchanged else (stamp, self._load(image_id))
            except (FileNotFoundError, record.RecordError):
                continue  # deleted meanwhile, or for `halves` to tell
        self._read = current

    def data(self, image_id: str) -> Path:
        """The file of a published image; raises ImageNotFound, ImageElsewhere."""
        image = self.get(image_id)
        if image.location is not None:
            raise ImageElsewhere(image=image_id, operator=image.location)
        path = self._data(image)
        if path.is_symlink() or not path.is_file():
            raise ImageNotFound(image=image_id, operator=f"{path} is not there")
        return path

    # --------------------------------------------------------------------------------------------------- removing

    def delete(self, image_id: str) -> None:
        """Unpublishes, then removes the data; raises ImageNotFound, WriteFailed, ImageInUse (then nothing was changed).

        Bytes elsewhere that cannot be removed now are removed by a later `tidy`: the image is gone all the same.
        """
        path = self._record(image_id)
        gone = path.with_suffix(".gone")
        try:
            with self._alone():
                path.rename(gone)
                self._sync()
                elsewhere = self._elsewhere(image_id)
                if elsewhere is None:
                    self._remove(image_id)
            if elsewhere is not None:
                self._finish(elsewhere)
        except FileNotFoundError as error:
            raise ImageNotFound(image=image_id) from error
        except ImageInUse:
            gone.rename(path)
            self._sync()
            raise
        except OSError as error:
            raise WriteFailed(offset=0, reason=error.strerror, operator=str(error)) from error

    def withdraw(self, image: Image) -> None:
        """Deletes the image if it is published, and is this one; raises WriteFailed."""
        try:
            if record.same(self.get(image.id), image):
                self.delete(image.id)
        except ImageNotFound:
            return  # it never came so far

    def discard(self, image_id: str) -> None:
        """Removes whatever of this image is not published; idempotent. Raises WriteFailed, ImageInUse."""
        part, record_of = self.part(image_id), self._record(image_id)
        try:
            with self._alone():
                published = record_of.exists()
                elsewhere = None if published else self._elsewhere(image_id)
                if published:
                    self._clear(part)
                elif elsewhere is None:
                    self._remove(image_id)
            if elsewhere is not None:
                self._finish(elsewhere)
        except OSError as error:
            raise WriteFailed(offset=0, reason=error.strerror, operator=str(error)) from error

    def tidy(self) -> None:
        """Finishes deletions that were interrupted or could not be finished. Raises WriteFailed, StoreUnusable."""
        for image_id, ending, _ in list(self._files()):
            if ending == "gone":
                with suppress(ImageInUse):  # cloned in the moment of its deletion: it goes when the clone has gone
                    self.discard(image_id)

    def _elsewhere(self, image_id: str) -> Image | None:
        """An image whose deletion has begun, if it has bytes elsewhere."""
        try:
            image = record.loads(self._record(image_id).with_suffix(".gone").read_bytes(), image_id)
        except (FileNotFoundError, record.RecordError):
            return None
        return image if image.location is not None else None

    def _finish(self, image: Image) -> None:
        """The rest of the deletion of an image with bytes elsewhere, the mark of it last; raises ImageInUse."""
        try:
            self._backing.remove(image)
        except ImageInUse:
            raise
        except StillframeError as error:
            LOG.info("image %s is deleted, but its bytes cannot be removed yet: %s", image.id, error)
            return
        with self._alone():
            self._remove(image.id)

    def _remove(self, image_id: str) -> None:
        """Everything of an image that is not published; the mark of a deletion last, so that it can be finished."""
        mine = [(ending == "gone", entry.name) for owner, ending, entry in self._files() if owner == image_id]
        for _, name in sorted(mine):
            (self.path / name).unlink(missing_ok=True)
        self._sync()

    # ------------------------------------------------------------------------------------------------- inspecting

    def halves(self) -> Iterator[Half]:
        """What is there and not published, or published and damaged; an image in the making is among it."""
        files: dict[str, set[str]] = {}
        for image_id, ending, _ in self._files():
            files.setdefault(image_id, set()).add(ending)
        for image_id, endings in sorted(files.items()):
            for ending in sorted(endings):
                reason = self._damage(image_id) if ending == "json" else _why(ending, published="json" in endings)
                if reason:
                    yield Half(image_id, f"{image_id}.{ending}", reason)

    def _damage(self, image_id: str) -> str | None:
        """What is wrong with a published image."""
        try:
            image = self._load(image_id)
            if image.location is not None:
                return None
            length = self._data(image).stat().st_size
        except FileNotFoundError:
            return "its data is missing"
        except record.RecordError as error:
            return str(error)
        return f"its data has {length} bytes, and its record says {image.size}" if length != image.size else None

    def _files(self) -> Iterator[tuple[str, str, os.DirEntry[str]]]:
        """(image id, what follows it, entry) of each file that is named after an image."""
        try:
            entries = list(os.scandir(self.path))
        except OSError as error:
            raise self._unusable(error) from error
        for entry in entries:
            image_id, _, ending = entry.name.partition(".")
            if UUID.fullmatch(image_id):
                yield image_id, ending, entry

    # ------------------------------------------------------------------------------------------------ small things

    def _record(self, image_id: str) -> Path:
        return self.path / f"{record.checked(image_id)}.json"

    def _load(self, image_id: str) -> Image:
        return record.loads(self._record(image_id).read_bytes(), image_id)

    def _data(self, image: Image) -> Path:
        record.checked(image.id)
        return self.path / record.data_name(image)

    def _unusable(self, error: OSError) -> StoreUnusable:
        return StoreUnusable(store="directory", reason=error.strerror, operator=f"{self.path}: {error}")

    def _sync(self) -> None:
        handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps every other thread and process from changing what is published; the kernel frees it for the dead."""
        handle = os.open(self.path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + LOCK_TIMEOUT
            while not _locked(handle):
                if time.monotonic() > deadline:
                    raise DeadlineExceeded(what="Waiting for the image store's lock", seconds=LOCK_TIMEOUT)
                time.sleep(LOCK_POLL)
            yield
        finally:
            os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _make_durable(path: Path, size: int | None) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        length = os.fstat(handle).st_size
        if length != size:
            raise WriteFailed(offset=length, reason=f"the image has {length} bytes instead of {size}")
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_durably(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _why(ending: str, *, published: bool) -> str | None:
    """Why a file that is named after an image is not a published image's data or record."""
    if ending == "gone":
        return "its deletion was interrupted"
    if ending == "part":
        return "it is being written, or was left so"
    if ending == "json.part":
        return "its publication was interrupted"
    return None if published else "its record is missing"
