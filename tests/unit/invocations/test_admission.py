"""Which times may still be counted."""

import pytest

from bedrock_meter.invocations.admission import (
    ADMISSION_MARGIN_MS,
    DAY_MS,
    LEDGER_RETENTION_MS,
    MAX_FUTURE_MS,
    inadmissible,
)

NOW_MS = 1_795_482_123_000


def test_the_bounds_are_those_of_the_design() -> None:
    assert LEDGER_RETENTION_MS == 400 * 24 * 3600 * 1000
    assert ADMISSION_MARGIN_MS == 7 * 24 * 3600 * 1000
    assert MAX_FUTURE_MS == 300_000


@pytest.mark.parametrize(
    ("age_ms", "reason"),
    [
        (0, None),
        (393 * DAY_MS, None),
        (393 * DAY_MS + 1, "too_old"),
        (366 * DAY_MS, None),
        (10_000 * DAY_MS, "too_old"),
        (-MAX_FUTURE_MS, None),
        (-MAX_FUTURE_MS - 1, "in_the_future"),
        (-10_000 * DAY_MS, "in_the_future"),
    ],
)
def test_what_is_admitted(age_ms: int, reason: str | None) -> None:
    assert inadmissible(NOW_MS - age_ms, NOW_MS) == reason


def test_admission_follows_the_retention_of_the_deployment() -> None:
    retention_ms = 30 * DAY_MS
    assert inadmissible(NOW_MS - 23 * DAY_MS, NOW_MS, retention_ms) is None
    assert inadmissible(NOW_MS - 23 * DAY_MS - 1, NOW_MS, retention_ms) == "too_old"


def test_no_entry_expires_while_its_record_can_still_be_admitted() -> None:
    """An entry lives for the retention from the event or its recording, whichever is later; its record dies before."""
    for age_ms in range(0, 500 * DAY_MS, 11 * DAY_MS):
        expires_ms = NOW_MS - age_ms + LEDGER_RETENTION_MS
        if inadmissible(NOW_MS - age_ms, NOW_MS) is None:
            assert expires_ms - NOW_MS >= ADMISSION_MARGIN_MS
