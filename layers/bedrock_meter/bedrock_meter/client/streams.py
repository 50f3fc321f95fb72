"""An event stream that is looked at while the caller reads it.

To its reader it is the stream that botocore made: same type, same events, same errors, same `close`, and what a broken
loop leaves is there for the next one.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.eventstream import EventStream


class GuardedStream(EventStream):  # type: ignore[misc]
    """Passes every event on and shows it to an observer first."""

    def __init__(self, stream: Any, observe: Callable[[Mapping[str, Any]], None]) -> None:
        # Not the base's: there is one raw stream, and the stream inside reads it.
        self._stream = stream
        self._observe = observe

    def __iter__(self) -> Iterator[Any]:
        """Yield the events; the observer has seen each before the caller does, who may stop at any of them."""
        for event in self._stream:
            self._observe(event)
            yield event

    def get_initial_response(self) -> Any:
        """Return the stream's first message where the protocol has one."""
        return self._stream.get_initial_response()

    def close(self) -> None:
        """Close the connection. What the call used is then for the log to say."""
        self._stream.close()

    def __getattr__(self, name: str) -> Any:
        # Only for what is not found here: whatever else the stream has.
        return getattr(self.__dict__["_stream"], name)
