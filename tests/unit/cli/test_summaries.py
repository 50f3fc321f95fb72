"""The last sentence of a command says what happened, and asks for a second run only where one would do something."""

from dataclasses import replace

import pytest

from bedrock_meter.cli import quarantine, reattribute, rerate
from bedrock_meter.local.conservation import Counts
from bedrock_meter.usage.reattribution import Reattributed
from bedrock_meter.usage.rerating import Rerated
from tests.unit.cli.test_rerate import QUESTION

ALL = Counts(read=3, recorded=3, duplicates=0, errors=0, quarantined=0, unattributed=0, unpriced=0)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (ALL, "all 3 records are recorded"),
        (replace(ALL, recorded=2, duplicates=1), "3 records read: 2 recorded, 1 known already"),
        (replace(ALL, recorded=0, quarantined=3), "3 records read: 0 recorded, 3 in quarantine"),
        (
            replace(ALL, recorded=1, errors=1, quarantined=1),
            "3 records read: 1 recorded, 1 of failed calls, 1 in quarantine",
        ),
        (replace(ALL, read=0, recorded=0), "0 records read: 0 recorded"),
    ],
)
def test_all_are_recorded_only_if_they_were(counts: Counts, words: str) -> None:
    from bedrock_meter.local.replay import recorder_words

    assert recorder_words(counts) == words


@pytest.mark.parametrize(("refused", "asks"), [(0, False), (1, True)])
def test_a_second_run_is_asked_for_only_where_something_is_left(
    refused: int, asks: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = Reattributed()
    moved.refused = refused
    reattribute._print_table(reattribute.document_of(moved, dry_run=False))
    said = capsys.readouterr().out
    assert (f"{refused} still wait" in said, "run it again" in said) == (True, asks)
    rated = Rerated()
    rated.refused = refused
    rerate._print_table(rerate.document_of(rated, QUESTION, 0, dry_run=False))
    said = capsys.readouterr().out
    assert (f"{refused} keep their cost" in said, "run it again" in said) == (True, asks)


def test_a_table_of_notes_says_what_became_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    quarantine._print([], "table", ": 2 not_found")
    assert capsys.readouterr().out == "0 notes: 2 not_found\n"
