"""gzip from outside, by the engine that is installed and by the standard library's."""

import gzip
import random
import struct
import zlib
from types import ModuleType

import pytest

from bedrock_meter.errors import UnreadablePayload
from bedrock_meter.invocations.inflate import ENGINE, inflate

PLAIN = b"".join(b"line %d of a log\n" % number for number in range(500))
GZIPPED = gzip.compress(PLAIN)


@pytest.fixture(params=[ENGINE, zlib], ids=["installed", "zlib"])
def engine(request: pytest.FixtureRequest) -> ModuleType:
    assert isinstance(request.param, ModuleType)
    return request.param


def reason(data: bytes, engine: ModuleType, maximum_bytes: int = 1 << 20) -> str:
    with pytest.raises(UnreadablePayload) as caught:
        inflate(data, maximum_bytes, engine)
    return caught.value.reason


def test_one_member(engine: ModuleType) -> None:
    assert inflate(GZIPPED, 1 << 20, engine) == PLAIN
    assert inflate(gzip.compress(b""), 0, engine) == b""


def test_many_members(engine: ModuleType) -> None:
    members = b"".join(gzip.compress(PLAIN[start : start + 1000]) for start in range(0, len(PLAIN), 1000))
    assert inflate(members, len(PLAIN), engine) == PLAIN
    assert reason(members, engine, len(PLAIN) - 1) == "too_large"
    assert inflate(gzip.compress(b"") + GZIPPED + gzip.compress(b""), len(PLAIN), engine) == PLAIN


def test_members_without_end(engine: ModuleType) -> None:
    assert inflate(gzip.compress(b"a") * 1000, 1 << 20, engine) == b"a" * 1000
    assert reason(gzip.compress(b"") * 1001, engine) == "too_large"


def test_the_bound(engine: ModuleType) -> None:
    assert inflate(GZIPPED, len(PLAIN), engine) == PLAIN
    assert reason(GZIPPED, engine, len(PLAIN) - 1) == "too_large"
    assert reason(GZIPPED, engine, 0) == "too_large"


@pytest.mark.parametrize("cut", [2, 5, 10, len(GZIPPED) // 2, len(GZIPPED) - 9, len(GZIPPED) - 1])
def test_truncated(engine: ModuleType, cut: int) -> None:
    assert reason(GZIPPED[:cut], engine) == "truncated_gzip"
    assert reason(GZIPPED + GZIPPED[:cut], engine) == "truncated_gzip"


@pytest.mark.parametrize("after", [b"\x00", bytes(512), b"x", b"\x1f", b"garbage", b"\x8b\x1f"])
def test_what_follows_the_last_member_is_ignored(engine: ModuleType, after: bytes) -> None:
    assert inflate(GZIPPED + after, 1 << 20, engine) == PLAIN


@pytest.mark.parametrize("data", [b"", b"\x1f", b"plain", zlib.compress(PLAIN), b"\x00" + GZIPPED, b"PK\x03\x04"])
def test_what_is_no_gzip(engine: ModuleType, data: bytes) -> None:
    assert reason(data, engine) == "not_gzip"


def test_checksum_and_length_are_checked(engine: ModuleType) -> None:
    body, checksum, length = GZIPPED[:-8], GZIPPED[-8:-4], struct.unpack("<I", GZIPPED[-4:])[0]
    assert reason(body + bytes(4) + GZIPPED[-4:], engine) == "not_gzip"
    assert reason(body + checksum + struct.pack("<I", length + 1), engine) == "not_gzip"


def test_a_bomb_takes_no_more_than_the_bound(engine: ModuleType) -> None:
    assert reason(gzip.compress(bytes(20_000_000)), engine, 1000) == "too_large"


def test_both_engines_read_the_same() -> None:
    chance = random.Random(7)
    for _ in range(300):
        plain = bytes(chance.choices(b'abc"\\{}', k=chance.randrange(400)))
        data = bytearray(gzip.compress(plain, chance.choice((1, 6, 9))))
        if chance.random() < 0.5:
            # Beyond the header: its reserved bits are read more strictly by one engine than by the other.
            data[chance.randrange(10, len(data))] ^= 1 << chance.randrange(8)
        found = {}
        for engine in (ENGINE, zlib):
            try:
                found[engine] = inflate(bytes(data), len(plain) + 5, engine)
            except UnreadablePayload:
                found[engine] = b"refused"
        assert found[ENGINE] == found[zlib]
