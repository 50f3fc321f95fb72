"""Test lines: known for what they are, and nothing else is."""

import pytest

from bedrock_meter.invocations.parser import LogLine, probe_of, read
from bedrock_meter.invocations.probe import PROBE_LINE
from bedrock_meter.invocations.quarantine import Rejected

NONCE = "0123456789abcdef" * 2


def test_a_test_line_is_no_record_and_no_rubbish() -> None:
    line = LogLine(f"{PROBE_LINE}{NONCE}\n")
    assert read(line) is None
    assert probe_of(line) == NONCE


@pytest.mark.parametrize(
    "text",
    [
        PROBE_LINE,
        f"{PROBE_LINE}{NONCE}0",
        f"{PROBE_LINE}{NONCE[:-1]}",
        f"{PROBE_LINE}{NONCE.upper()}",
        f"x{PROBE_LINE}{NONCE}",
        f"{PROBE_LINE}{NONCE} and more",
        f'"{PROBE_LINE}{NONCE}"',
    ],
)
def test_what_only_looks_like_one_goes_to_quarantine(text: str) -> None:
    assert isinstance(read(LogLine(text)), Rejected)
    assert probe_of(LogLine(text)) is None


def test_the_permission_line_is_no_test_line() -> None:
    assert probe_of(LogLine("Permissions are correctly set for Amazon Bedrock logs.")) is None
