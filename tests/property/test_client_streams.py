"""A guarded stream is, to its reader, the stream that botocore made, whatever the reader does with it."""

from contextlib import suppress
from typing import Any

from botocore.eventstream import EventStream
from botocore.exceptions import EventStreamError
from botocore.parsers import EventStreamJSONParser
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_meter.client import Amounts
from bedrock_meter.client.streams import GuardedStream
from bedrock_meter.client.usage import of_event
from tests.doubles.bedrock import Raw, message, shared_session

USAGE = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}

TEXTS = st.text(max_size=8).map(lambda text: ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}}))
EVENTS = st.one_of(
    TEXTS,
    st.just(("messageStart", {"role": "assistant"})),
    st.just(("messageStop", {"stopReason": "end_turn"})),
    st.just(("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}})),
    st.just(("somethingNew", {"x": 1})),
    st.just(("throttlingException", {"message": "slow"})),
)
# What a reader does: reads so many events in a loop of its own, closes, reads all.
ACTIONS = st.lists(st.one_of(st.integers(1, 4), st.just("close"), st.just("all")), max_size=6)


def raw_of(events: list[tuple[str, dict[str, Any]]], cut: int) -> Raw:
    """The events as bytes that arrive in parts of ``cut``."""
    content = b"".join(message(kind, document, is_error=kind.endswith("Exception")) for kind, document in events)
    return Raw(content[start : start + cut] for start in range(0, len(content), cut))


def stream_of(raw: Raw) -> EventStream:
    operation = shared_session().get_service_model("bedrock-runtime").operation_model("ConverseStream")
    return EventStream(raw, operation.output_shape.members["stream"], EventStreamJSONParser(), "ConverseStream")


def watched(stream: Any, actions: list[Any]) -> list[Any]:
    """Everything that a reader sees."""
    seen: list[Any] = []
    for action in actions:
        if action == "close":
            stream.close()
            seen.append("closed")
            continue
        try:
            for count, event in enumerate(stream, 1):
                seen.append(event)
                if count == action:
                    break
            else:
                seen.append("end")
        except EventStreamError as error:
            seen.append(str(error))
    return seen


@given(st.lists(EVENTS, max_size=8), st.integers(1, 400), ACTIONS)
@settings(deadline=None)
def test_a_reader_cannot_tell_the_difference(events: Any, cut: int, actions: list[Any]) -> None:
    plain, guarded = raw_of(events, cut), raw_of(events, cut)
    observed: list[Any] = []
    failures: list[EventStreamError] = []
    stream = GuardedStream(stream_of(guarded), observed.append, failures.append)
    seen = watched(stream, actions)
    assert seen == watched(stream_of(plain), actions)
    assert guarded.is_closed == plain.is_closed
    assert [str(one) for one in failures] == [one for one in seen if isinstance(one, str) and "slow" in one]
    assert observed == [one for one in seen if isinstance(one, dict)], "each event once, and no other"


_COUNTED = Amounts(1, 3, 5, unsaid=frozenset({"cache_read_tokens", "cache_write_tokens"}))


@given(st.lists(EVENTS, max_size=8), st.integers(1, 400))
@settings(deadline=None)
def test_the_observer_sees_an_event_before_its_reader(events: Any, cut: int) -> None:
    observed: list[Any] = []
    stream = GuardedStream(stream_of(raw_of(events, cut)), observed.append)
    with suppress(EventStreamError):
        for number, event in enumerate(stream, 1):
            assert (len(observed), observed[-1]) == (number, event)
    found = [of_event(event) for event in observed]
    assert [one for one in found if one is not None] == [_COUNTED] * sum("metadata" in event for event in observed)


def test_whatever_else_the_stream_has_is_there() -> None:
    stream = GuardedStream(stream_of(raw_of([], 1)), print)
    assert isinstance(stream, EventStream)
    assert stream._operation_name == "ConverseStream"
