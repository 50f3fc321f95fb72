"""How far a backfill is, and what of its file is believed."""

from pathlib import Path

import pytest

from bedrock_meter.cli.backfill import Position, load, save
from bedrock_meter.local.failures import BadInput
from bedrock_meter.usage.ingestion import Ingested
from bedrock_meter.usage.recorder import Recorded

FRESH = Position("/bedrock/invocations", 1_000, 9_000, 1_000)


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
