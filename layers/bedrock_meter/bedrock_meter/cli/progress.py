"""What a person sees while waiting: a line that changes on a terminal, plain lines elsewhere. Always on stderr."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.status import Status

_EVERY_S = 2.0


class Progress:
    """Shows one step at a time; use as a context manager.

    On a terminal the present step turns beside a spinner. Elsewhere each new step is a line, and of steps that follow
    each other quickly (counters) only one in two seconds is written.
    """

    def __init__(self) -> None:
        self._status: Status | None = None
        self._text = ""
        self._written_at = 0.0

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True).status("")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pause()

    def tell(self, text: str) -> None:
        """Show the present step."""
        if self._status is not None:
            self._status.update(text)
        elif text != self._text:
            counts_on = text.split(" ", 1)[0] == self._text.split(" ", 1)[0]
            if not counts_on or time.monotonic() - self._written_at >= _EVERY_S:
                self.note(text)
                self._written_at = time.monotonic()
        self._text = text

    def note(self, text: str) -> None:
        """Write a line that stays."""
        if self._status is not None:
            self._status.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def pause(self) -> None:
        """Take the spinner away, for output that follows."""
        if self._status is not None:
            self._status.stop()
