"""What decoding holds in memory: the payload once more at most, and one record at a time. As ratios, by tracemalloc."""

import gzip
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from bedrock_meter.invocations.parser import decode_subscription, read
from bedrock_meter.invocations.record import Invocation
from tests.unit.invocations.messages import counts, envelope, record, text, wrap

BODY_CHARACTERS = 64_000


@pytest.fixture
def memory() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def payload(records: int, character: str) -> bytes:
    """One character beyond ASCII is enough to make Python spend two or four bytes on each of a text."""
    body = {"messages": ["x" * 999 + character for _ in range(BODY_CHARACTERS // 1000)]}
    return text(envelope(*[text(record(input=counts(inputBodyJson=body))) for _ in range(records)])).encode()


def peak_of_opening(event: dict[str, Any]) -> int:
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    decode_subscription(event)
    return tracemalloc.get_traced_memory()[1] - before


def peak_of_reading(event: dict[str, Any]) -> int:
    batch = decode_subscription(event)
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    for line in batch.lines:
        assert isinstance(read(line), Invocation)
    return tracemalloc.get_traced_memory()[1] - before


@pytest.mark.parametrize("character", ["x", "é", "世", "🙂"])
@pytest.mark.usefixtures("memory")
def test_reading_holds_one_record_however_many_there_are(character: str) -> None:
    few, many = (peak_of_reading(wrap(gzip.compress(payload(records, character)))) for records in (10, 40))
    assert many < 1.2 * few
    assert many < 5 * BODY_CHARACTERS


@pytest.mark.parametrize("character", ["x", "é", "世", "🙂"])
@pytest.mark.usefixtures("memory")
def test_opening_holds_the_payload_twice_at_most(character: str) -> None:
    content = payload(40, character)
    event = wrap(gzip.compress(content))
    # A tenth is for everything that is no text.
    assert peak_of_opening(event) < 2.1 * len(content)


@pytest.mark.usefixtures("memory")
def test_a_rejected_record_is_held_once_more_at_most() -> None:
    sound, broken = (
        peak_of_one(text(record(input=counts(inputBodyJson=["é" * 1000] * 64), accountId=account)))
        for account in ("111122223333", "?")
    )
    assert broken < 3 * sound


def peak_of_one(message: str) -> int:
    batch = decode_subscription(wrap(gzip.compress(text(envelope(message)).encode())))
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    read(batch.lines[0])
    return tracemalloc.get_traced_memory()[1] - before
