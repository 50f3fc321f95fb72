"""An event stream that is looked at while the caller reads it.

To its reader it is the stream that botocore made: same type, same events, same errors, same `close`, and what a broken
loop leaves is there for the next one.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.eventstream import EventStream
from botocore.exceptions import EventStreamError


class GuardedStream(EventStream):  # type: ignore[misc]
    """Passes every event on and shows it to an observer first.

    Args:
        stream: What botocore made.
        observe: Called with each event.
        failed: Called with the error that Bedrock ends the stream with.
    """

    def __init__(
        self,
        stream: Any,
        observe: Callable[[Mapping[str, Any]], None],
        failed: Callable[[EventStreamError], None] | None = None,
    ) -> None:
        # Not the base's: there is one raw stream, and the stream inside reads it.
        self._stream = stream
        self._observe = observe
        self._failed = failed

    def __iter__(self) -> Iterator[Any]:
        """Yield the events; the observer has seen each before the caller does, who may stop at any of them."""
        events = iter(self._stream)
        while True:
            try:
                event = next(events)
            except StopIteration:
                return
            except EventStreamError as error:
                if self._failed is not None:
                    self._failed(error)
                raise
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
