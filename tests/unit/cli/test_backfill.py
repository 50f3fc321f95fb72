"""Ranges, and the file that keeps the position."""

from pathlib import Path

import pytest

from bedrock_meter.cli.backfill import Position, load, read_range, save, state_file
from bedrock_meter.local.failures import BadInput
from bedrock_meter.local.project import STATE_VARIABLE
from bedrock_meter.usage.ingestion import Ingested
from bedrock_meter.usage.recorder import Recorded
from tests.doubles.records import NOW_MS

FRESH = Position("/bedrock/invocations", 1_000, 9_000, 1_000)


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


def test_a_position_is_kept_and_found_again(tmp_path: Path) -> None:
    file = tmp_path / "position.json"
    assert load(file, FRESH) == FRESH
    report = Ingested(read=10, quarantined=1, usage=Recorded(recorded=5, errors=1, duplicates=3))
    later = Position(FRESH.log_group, 1_000, 9_000, 4_000, 1, 1).counted(report)
    assert (later.read, later.recorded, later.errors, later.duplicates, later.quarantined) == (11, 6, 1, 3, 1)
    save(file, later)
    save(file, later)
    assert load(file, FRESH) == later
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"log_group": 1}']
    + [
        f'{{"log_group": "{group}", "from_ms": {start}, "to_ms": {end}, "done_ms": {done}}}'
        for group, start, end, done in [
            ("/other", 1_000, 9_000, 2_000),
            ("/bedrock/invocations", 1_001, 9_000, 2_000),
            ("/bedrock/invocations", 1_000, 9_001, 2_000),
            ("/bedrock/invocations", 1_000, 9_000, 999),
            ("/bedrock/invocations", 1_000, 9_000, 9_001),
        ]
    ],
)
def test_a_file_about_something_else_is_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / "position.json"
    file.write_text(content)
    with pytest.raises(BadInput):
        load(file, FRESH)


def test_positions_are_kept_where_git_does_not_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STATE_VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    file = state_file("bedrock-meter", "2026-11-17T00:00Z", "2026-11-18T00:00Z")
    assert file.parent == Path(".local")
    assert file.name == "backfill_bedrock-meter_2026-11-17T00-00Z_2026-11-18T00-00Z.json"
    assert (file.parent / ".gitignore").read_text() == "*\n"
    assert state_file("other", "2026-11-17T00:00Z", "2026-11-18T00:00Z") != file
