from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from bedrock_meter.local.sending import (
    EVENT_OVERHEAD_BYTES,
    MAXIMUM_BYTES,
    MAXIMUM_EVENTS,
    MAXIMUM_SPAN_MS,
    Batch,
    Message,
    batches,
)

NOW_MS = 1_800_000_000_000


def cut(messages: list[Message]) -> list[Batch]:
    ticks = count(NOW_MS)
    return list(batches(messages, lambda: next(ticks)))


def test_nothing_to_send_is_no_batch() -> None:
    assert cut([]) == []


def test_a_batch_ends_at_its_number_of_events() -> None:
    found = cut([Message("x", None, True)] * (MAXIMUM_EVENTS + 1))
    assert [len(batch.events) for batch in found] == [MAXIMUM_EVENTS, 1]


def test_bytes_count_not_characters() -> None:
    wide = "€" * 100_000
    assert [len(batch.events) for batch in cut([Message(wide, None, True)] * 3)] == [1, 1, 1]
    assert [len(batch.events) for batch in cut([Message("e" * 100_000, None, True)] * 3)] == [3]


def test_the_line_about_permissions_is_sent_and_not_expected_back() -> None:
    (batch,) = cut([Message("Permissions ...", None, False), Message("{}", None, True)])
    assert (len(batch.events), batch.records) == (2, 1)


messages = st.builds(
    Message,
    text=st.one_of(st.text(min_size=1, max_size=20), st.just("x" * 200_000)),
    time_ms=st.one_of(st.none(), st.integers(NOW_MS - 13 * 86_400_000, NOW_MS + 3_600_000)),
    is_record=st.booleans(),
)


@given(st.lists(messages, max_size=40))
def test_every_message_is_in_one_batch_in_order_and_every_batch_is_acceptable(sent: list[Message]) -> None:
    found = cut(sent)
    assert [text for batch in found for _, text in batch.events] == [message.text for message in sent]
    assert sum(batch.records for batch in found) == sum(message.is_record for message in sent)
    times = [time_ms for batch in found for time_ms, _ in batch.events]
    for message, time_ms in zip(sent, times, strict=True):
        assert message.time_ms in (None, time_ms)
    for batch in found:
        instants = [time_ms for time_ms, _ in batch.events]
        assert instants == sorted(instants)
        assert instants[-1] - instants[0] <= MAXIMUM_SPAN_MS
        assert 1 <= len(batch.events) <= MAXIMUM_EVENTS
        size = sum(len(text.encode()) + EVENT_OVERHEAD_BYTES for _, text in batch.events)
        assert size <= MAXIMUM_BYTES or len(batch.events) == 1
