"""gzip from outside: whole, damaged, endless."""

import gzip
import random
import struct
import zlib

import pytest

from bedrock_meter.errors import UnreadablePayload
from bedrock_meter.invocations.inflate import inflate

PLAIN = b"".join(b"line %d of a log\n" % number for number in range(500))
GZIPPED = gzip.compress(PLAIN)


def reason(data: bytes, maximum_bytes: int = 1 << 20) -> str:
    with pytest.raises(UnreadablePayload) as caught:
        inflate(data, maximum_bytes)
    return caught.value.reason


def test_one_member() -> None:
    assert inflate(GZIPPED, 1 << 20) == PLAIN
    assert inflate(gzip.compress(b""), 0) == b""


def test_many_members() -> None:
    members = b"".join(gzip.compress(PLAIN[start : start + 1000]) for start in range(0, len(PLAIN), 1000))
    assert inflate(members, len(PLAIN)) == PLAIN
    assert reason(members, len(PLAIN) - 1) == "too_large"
    assert inflate(gzip.compress(b"") + GZIPPED + gzip.compress(b""), len(PLAIN)) == PLAIN


def test_members_without_end() -> None:
    assert inflate(gzip.compress(b"a") * 1000, 1 << 20) == b"a" * 1000
    assert reason(gzip.compress(b"") * 1001) == "too_large"


def test_the_bound() -> None:
    assert inflate(GZIPPED, len(PLAIN)) == PLAIN
    assert reason(GZIPPED, len(PLAIN) - 1) == "too_large"
    assert reason(GZIPPED, 0) == "too_large"


@pytest.mark.parametrize("cut", [2, 5, 10, len(GZIPPED) // 2, len(GZIPPED) - 9, len(GZIPPED) - 1])
def test_truncated(cut: int) -> None:
    assert reason(GZIPPED[:cut]) == "truncated_gzip"
    assert reason(GZIPPED + GZIPPED[:cut]) == "truncated_gzip"


@pytest.mark.parametrize("after", [b"\x00", bytes(512), b"x", b"\x1f", b"garbage", b"\x8b\x1f"])
def test_what_follows_the_last_member_is_ignored(after: bytes) -> None:
    assert inflate(GZIPPED + after, 1 << 20) == PLAIN


@pytest.mark.parametrize("data", [b"", b"\x1f", b"plain", zlib.compress(PLAIN), b"\x00" + GZIPPED, b"PK\x03\x04"])
def test_what_is_no_gzip(data: bytes) -> None:
    assert reason(data) == "not_gzip"


def test_checksum_and_length_are_checked() -> None:
    body, checksum, length = GZIPPED[:-8], GZIPPED[-8:-4], struct.unpack("<I", GZIPPED[-4:])[0]
    assert reason(body + bytes(4) + GZIPPED[-4:]) == "not_gzip"
    assert reason(body + checksum + struct.pack("<I", length + 1)) == "not_gzip"


def test_a_bomb_takes_no_more_than_the_bound() -> None:
    assert reason(gzip.compress(bytes(20_000_000)), 1000) == "too_large"


def test_damage_is_judged_as_the_standard_library_judges_it() -> None:
    chance = random.Random(7)
    for _ in range(500):
        plain = bytes(chance.choices(b'abc"\\{}', k=chance.randrange(400)))
        data = bytearray(gzip.compress(plain, chance.choice((1, 6, 9))))
        if chance.random() < 0.7:
            # Beyond the header, whose reserved bits ISA-L does not look at.
            data[chance.randrange(10, len(data))] ^= 1 << chance.randrange(8)
        try:
            expected = gzip.decompress(bytes(data))
        except (OSError, EOFError, zlib.error):
            assert reason(bytes(data)) in ("not_gzip", "truncated_gzip")
        else:
            assert inflate(bytes(data), 1 << 20) == expected == plain
