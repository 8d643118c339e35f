"""What lasts for a `with` block: started at its beginning, and nothing of it is there after its end."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Lasting:
    """For those that can be started and stopped in the block as well."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def start(self) -> None:
        """Returns once it can be used."""
        raise NotImplementedError

    def stop(self) -> object:
        """Ends it in the usual way."""
        raise NotImplementedError

    def discard(self) -> None:
        """Ends it, in whatever state it is."""
        self.stop()
