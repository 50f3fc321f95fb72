"""Ranges of the past, and where a command that was stopped finds its position."""

from pathlib import Path

import pytest

from bedrock_meter.cli.positions import position_file, read_range
from bedrock_meter.local.failures import BadInput
from bedrock_meter.local.project import STATE_VARIABLE
from tests.doubles.records import NOW_MS


def test_a_range_is_read_in_the_spellings_of_records() -> None:
    assert read_range("2026-11-17T00:00Z", "2026-11-18T02:00:00+02:00", NOW_MS) == (
        1_794_873_600_000,
        1_794_960_000_000,
    )


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-11-17T00:00Z", "2026-11-17T00:00Z"),
        ("2026-11-18T00:00Z", "2026-11-17T00:00Z"),
        ("2026-11-17T00:00Z", "2126-11-17T00:00Z"),
        ("2026-11-17", "2026-11-18T00:00Z"),
        ("2026-11-17T00:00Z", "yesterday"),
    ],
)
def test_what_is_no_range_of_the_past_is_refused(start: str, end: str) -> None:
    with pytest.raises(BadInput):
        read_range(start, end, NOW_MS)


def test_positions_are_kept_where_git_does_not_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STATE_VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    file = position_file("backfill", "bedrock-meter", "2026-11-17T00:00Z", "2026-11-18T00:00Z")
    assert file.parent == Path(".local")
    assert file.name == "backfill_bedrock-meter_2026-11-17T00-00Z_2026-11-18T00-00Z.json"
    assert (file.parent / ".gitignore").read_text() == "*\n"
    assert position_file("backfill", "other", "2026-11-17T00:00Z", "2026-11-18T00:00Z") != file
