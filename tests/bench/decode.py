"""How fast subscription events are decoded, against the ways that need no decoder of our own.

Three facts: only ratios of one run mean something, so that all ways take turns in every round and are compared within
it; every way must return the same fields of the same records before it is measured; and the target is the faster of
stdlib and Powertools, twice, at bodies of 8 KB.
"""

import base64
import gc
import gzip
import json
import random
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from aws_lambda_powertools.utilities.data_classes import CloudWatchLogsEvent
from aws_lambda_powertools.utilities.parser.envelopes import CloudWatchLogsEnvelope
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from bedrock_meter.invocations.inflate import inflate
from bedrock_meter.invocations.parser import decode_subscription, read
from bedrock_meter.invocations.record import Invocation

RECORDS = 200
TENANTS = 10
ROUNDS = 11
TARGET = 2.0
TARGET_CASE = "8 KB"
OURS = "bedrock_meter"
RIVALS = ("stdlib json", "Powertools data class", "Powertools envelope")

Event = dict[str, dict[str, str]]
Fields = tuple[object, ...]
"""What every way extracts: the fields of an ``Invocation``, in its order."""


# --- the ways


def ours(event: Event) -> list[Invocation]:
    """What the function does, with every check."""
    found = [read(line) for line in decode_subscription(event).lines]
    return [one for one in found if isinstance(one, Invocation)]


def stdlib(event: Event) -> list[Fields]:
    """``json.loads`` twice, without any check."""
    payload = json.loads(zlib.decompress(base64.b64decode(event["awslogs"]["data"]), zlib.MAX_WBITS | 16))
    return [_fields(json.loads(one["message"])) for one in payload["logEvents"]]


def powertools_data_class(event: Event) -> list[Fields]:
    """The event source data class, then ``json.loads``."""
    decoded = CloudWatchLogsEvent(event).parse_logs_data()
    return [_fields(json.loads(one.message)) for one in decoded.log_events]


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class _Identity(_Part):
    arn: str = ""


class _Input(_Part):
    input_token_count: int = 0
    cache_read_input_token_count: int = 0
    cache_write_input_token_count: int = 0


class _Output(_Part):
    output_token_count: int = 0


class _Model(_Part):
    account_id: str
    region: str
    request_id: str
    timestamp: datetime
    operation: str = ""
    model_id: str
    identity: _Identity = _Identity()
    input: _Input = _Input()
    output: _Output = _Output()
    error_code: str | None = None
    request_metadata: dict[str, str] | None = None


def powertools_envelope(event: Event) -> list[Fields]:
    """The parser's envelope with a model of the same fields (pydantic)."""
    return [
        (
            one.account_id,
            one.region,
            one.request_id,
            int(one.timestamp.timestamp() * 1000),
            one.operation,
            one.model_id,
            one.identity.arn,
            one.input.input_token_count,
            one.output.output_token_count,
            one.input.cache_read_input_token_count,
            one.input.cache_write_input_token_count,
            one.error_code,
            one.request_metadata,
        )
        for one in CloudWatchLogsEnvelope().parse(event, _Model)
        if one is not None
    ]


def inflate_alone(event: Event) -> list[Fields]:
    """base64 and zlib only: what no way can avoid without another library."""
    zlib.decompress(base64.b64decode(event["awslogs"]["data"]), zlib.MAX_WBITS | 16)
    return []


def our_inflate_alone(event: Event) -> list[Fields]:
    """The same two steps as this package does them."""
    inflate(msgspec.convert(event["awslogs"]["data"], bytes), 1 << 30)
    return []


def _fields(record: dict[str, Any]) -> Fields:
    read_by_model, written_by_model = record.get("input") or {}, record.get("output") or {}
    return (
        record["accountId"],
        record["region"],
        record["requestId"],
        int(datetime.fromisoformat(record["timestamp"]).timestamp() * 1000),
        record.get("operation", ""),
        record["modelId"],
        (record.get("identity") or {}).get("arn", ""),
        read_by_model.get("inputTokenCount", 0),
        written_by_model.get("outputTokenCount", 0),
        read_by_model.get("cacheReadInputTokenCount", 0),
        read_by_model.get("cacheWriteInputTokenCount", 0),
        record.get("errorCode"),
        record.get("requestMetadata"),
    )


WAYS: dict[str, Callable[[Event], Iterable[object]]] = {
    OURS: ours,
    "stdlib json": stdlib,
    "Powertools data class": powertools_data_class,
    "Powertools envelope": powertools_envelope,
    "inflate alone, zlib": inflate_alone,
    "inflate alone, ours": our_inflate_alone,
}


# --- the records


def vocabulary() -> list[str]:
    """Return the words of the language that everybody writes in."""
    chance = random.Random(0)
    onsets = ("b", "br", "c", "ch", "d", "f", "fl", "g", "h", "l", "m", "n", "p", "r", "s", "st", "t", "th", "v", "w")
    syllables = [onset + vowel for onset in onsets for vowel in "aeiou"]
    return ["".join(chance.choices(syllables, k=chance.choice((1, 1, 2, 2, 3)))) for _ in range(3000)]


class Author:
    """Writes prose that is as hard to compress and as full of quotes and line ends as that of a chat.

    With accents, nearly every record of 8 KB holds characters that are not ASCII; without, none does.
    """

    def __init__(self, seed: int, *, accents: bool) -> None:
        self._random = random.Random(seed)
        self._quotes = "“”" if accents else "''"
        self._words = vocabulary()
        if accents:
            self._words[50::97] = [f"{word}é" for word in self._words[50::97]]
        self._weights = [1 / (rank + 3) for rank in range(len(self._words))]

    def prose(self, length: int) -> str:
        """Return paragraphs of about ``length`` characters."""
        return "\n\n".join(self._paragraphs(length))[:length]

    def _paragraphs(self, length: int) -> Iterator[str]:
        while length > 0:
            words = self._random.choices(self._words, self._weights, k=self._random.randint(20, 90))
            for place in range(0, len(words), self._random.randint(9, 17)):
                words[place] = words[place].capitalize()
                words[place - 1] += self._random.choice((".", ".", ".", "?", ":", ",\n"))
            for place in range(self._random.randint(5, 20), len(words), 25):
                word = words[place]
                words[place] = self._random.choice((f'"{word}"', f"`{word}`", word.join(self._quotes), "isn't"))
            paragraph = " ".join(words)
            length -= len(paragraph) + 2
            yield paragraph

    def identifier(self) -> str:
        """Return a request id."""
        digits = f"{self._random.getrandbits(128):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def whole(self, low: int, high: int) -> int:
        """Return a number from ``low`` to ``high``."""
        return self._random.randint(low, high)


TOOL = {
    "toolSpec": {
        "name": "search_orders",
        "description": "Finds orders of a customer by date.",
        "inputSchema": {
            "json": {
                "type": "object",
                "properties": {"customer": {"type": "string"}, "since": {"type": "string", "format": "date"}},
                "required": ["customer"],
            }
        },
    }
}


Bodies = Callable[[Author, str, int], tuple[object, object]]
"""Makes the request's and the answer's body from an author, a system prompt and a size in bytes."""


def conversation(author: Author, system: str, size: int) -> tuple[object, object]:
    """Bodies of ``Converse``: system prompt, turns and answer; a tool too if there is room."""
    request: dict[str, object] = {"inferenceConfig": {"maxTokens": 1024}, "system": [{"text": system}]}
    if size > 2048:
        request["toolConfig"] = {"tools": [TOOL]}
    answer = {
        "output": {"message": {"role": "assistant", "content": [{"text": author.prose(size // 5)}]}},
        "stopReason": "end_turn",
        "metrics": {"latencyMs": 1800},
        "usage": {"inputTokens": 7, "outputTokens": 7, "totalTokens": 14},
    }
    left = size - len(json.dumps([request, answer]))
    turns = max(1, left // 1500) | 1
    request["messages"] = [
        {"role": ("user", "assistant")[turn % 2], "content": [{"text": author.prose(max(40, left // turns))}]}
        for turn in range(turns)
    ]
    return request, answer


def chunk_list(author: Author, system: str, size: int) -> tuple[object, object]:
    """Bodies of ``InvokeModelWithResponseStream``: the answer as the list of the model's chunks."""
    question = {"role": "user", "content": author.prose(size // 4)}
    request = {"system": system, "messages": [question], "max_tokens": 1024}
    start = {"type": "content_block_delta", "index": 0}
    chunks: list[object] = [
        {**start, "delta": {"type": "text_delta", "text": author.prose(author.whole(4, 30))}}
        for _ in range((size - len(json.dumps(request))) // 105)
    ]
    return request, [{"type": "message_start"}, *chunks, "[DONE]"]


def subscription_event(bodies: Bodies, size: int, *, accented: int = TENANTS // 2) -> Event:
    """Return an event of ``RECORDS`` records of ten tenants whose two bodies have about ``size`` bytes together.

    Args:
        bodies: Makes them.
        size: Of both together.
        accented: How many of the tenants write in more than ASCII.
    """
    authors = [Author(size + tenant, accents=tenant < accented) for tenant in range(TENANTS)]
    systems = [author.prose(size // 4) for author in authors]
    events = []
    for number in range(RECORDS):
        author = authors[number % TENANTS]
        events.append(_log_event(number, author, *bodies(author, systems[number % TENANTS], size)))
    payload = {
        "messageType": "DATA_MESSAGE",
        "owner": "111122223333",
        "logGroup": "/aws/bedrock/model-invocations",
        "logStream": "aws/bedrock/modelinvocations",
        "subscriptionFilters": ["record-usage"],
        "logEvents": events,
    }
    return {"awslogs": {"data": base64.b64encode(gzip.compress(_compact(payload).encode(), mtime=0)).decode()}}


def _log_event(number: int, author: Author, request: object, answer: object) -> dict[str, object]:
    at = datetime(2026, 11, 24, 1, number // 60, number % 60, tzinfo=UTC)
    tenant = number % TENANTS
    record = {
        "timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "accountId": "111122223333",
        "identity": {"arn": f"arn:aws:sts::111122223333:assumed-role/tenant-{tenant}/session-{number}"},
        "region": "us-east-1",
        "requestId": author.identifier(),
        "operation": "Converse",
        "modelId": f"arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/profile{tenant:05}",
        "input": {
            "inputContentType": "application/json",
            "inputBodyJson": request,
            "inputTokenCount": author.whole(10, 5000),
            "cacheReadInputTokenCount": 0,
            "cacheWriteInputTokenCount": 0,
        },
        "output": {
            "outputContentType": "application/json",
            "outputBodyJson": answer,
            "outputTokenCount": author.whole(10, 900),
        },
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
    }
    return {"id": f"{number:056}", "timestamp": int(at.timestamp() * 1000), "message": _compact(record)}


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


CASES: dict[str, Callable[[], Event]] = {
    "1 KB": partial(subscription_event, conversation, 1 << 10),
    "8 KB": partial(subscription_event, conversation, 8 << 10),
    "8 KB, ASCII": partial(subscription_event, conversation, 8 << 10, accented=0),
    "8 KB, accents": partial(subscription_event, conversation, 8 << 10, accented=TENANTS),
    "8 KB, chunks": partial(subscription_event, chunk_list, 8 << 10),
    "64 KB": partial(subscription_event, conversation, 64 << 10),
}


# --- the measurement


def measure(event: Event) -> dict[str, list[float]]:
    """Return CPU seconds of each way in each round."""
    expected = stdlib(event)
    for name, way in WAYS.items():
        found = [_as_fields(one) for one in way(event)]
        if found and found != expected:
            raise AssertionError(f"{name} reads something else")
    clock = random.Random(0)
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name in clock.sample(list(WAYS), len(WAYS)):
            gc.collect()
            start = time.process_time()
            WAYS[name](event)
            taken[name].append(time.process_time() - start)
    return taken


def _as_fields(one: object) -> object:
    if not isinstance(one, Invocation):
        return one
    tokens = (one.tokens.input, one.tokens.output, one.tokens.cache_read, one.tokens.cache_write)
    place = (one.account_id, one.region, one.request_id, one.event_ms, one.operation, one.model_id, one.principal)
    return (*place, *tokens, one.error_code, dict(one.metadata) or None)


def main() -> int:
    """Print the table; return 0 if the target is reached, else 1."""
    print(f"Decoding {RECORDS} records of {TENANTS} tenants, half of which write in more than ASCII.")
    print(f"Times as long as ours (microseconds a record); medians of {ROUNDS} rounds of CPU time.")
    print(f"{'':24}" + "".join(f"{case:>16}" for case in CASES))
    ratios: dict[str, dict[str, float]] = {name: {} for name in WAYS}
    micros: dict[str, dict[str, float]] = {name: {} for name in WAYS}
    for case, event in CASES.items():
        taken = measure(event())
        for name in WAYS:
            within_rounds = [one / own for one, own in zip(taken[name], taken[OURS], strict=True)]
            ratios[name][case] = statistics.median(within_rounds)
            micros[name][case] = statistics.median(taken[name]) / RECORDS * 1e6
    for name in WAYS:
        cells = (f"{ratios[name][case]:.2f} ({micros[name][case]:.1f})" for case in CASES)
        print(f"{name:24}" + "".join(f"{cell:>16}" for cell in cells))
    reached = min(ratios[name][TARGET_CASE] for name in RIVALS)
    verdict = "reached" if reached >= TARGET else "MISSED"
    print(f"Target at {TARGET_CASE}: {TARGET} times as fast as the fastest other way; {verdict}: {reached:.2f}")
    return 0 if reached >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
