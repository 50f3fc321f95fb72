"""Usage by period and group: periods of civil clocks, sums, and where an answer is cut."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from bedrock_meter.limits.windows import QUARTER_MS
from bedrock_meter.usage.report import By, Group, Line, Report, period_of, report
from bedrock_meter.usage.rollup import NOTHING, RollupKey, Sums
from tests.doubles.records import sums


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def row(text: str, profile: str = "p1", model: str = "m1", **amounts: int) -> tuple[RollupKey, Sums]:
    return RollupKey("acme", at(text), profile, model), sums(**(amounts or {"requests": 1, "input": 10}))


def lines(found: Report) -> list[tuple[str, str, int]]:
    return [(line.period.label, line.group, line.sums.requests) for line in found.lines]


def made(
    *rows: tuple[RollupKey, Sums], by: By = "day", group: Group = "none", timezone: str = "UTC", page: int = 1
) -> Report:
    pages = iter([rows[start : start + page] for start in range(0, len(rows), page)] or [()])
    return report(pages, by, group, timezone, may_go_on=lambda _, __: True)


def test_a_local_day_is_not_a_day_of_utc() -> None:
    found = made(row("2026-11-23T22:45Z"), row("2026-11-23T23:00Z"), row("2026-11-24T22:45Z"), timezone="Europe/Berlin")
    assert lines(found) == [("2026-11-23", "", 1), ("2026-11-24", "", 2)]
    assert (found.lines[1].period.start_ms, found.next_ms) == (at("2026-11-23T23:00Z"), None)


@pytest.mark.parametrize(
    ("by", "timezone", "instant", "start", "end", "label"),
    [
        ("hour", "UTC", "11-24T10:45", "11-24T10:00", "11-24T11:00", "2026-11-24T10:00+00:00"),
        ("hour", "Asia/Kolkata", "11-24T10:45", "11-24T10:30", "11-24T11:30", "2026-11-24T16:00+05:30"),
        # Set back at 3:00 local time: 2:00 happens twice, and is two periods.
        ("hour", "Europe/Berlin", "10-25T00:15", "10-25T00:00", "10-25T01:00", "2026-10-25T02:00+02:00"),
        ("hour", "Europe/Berlin", "10-25T01:15", "10-25T01:00", "10-25T02:00", "2026-10-25T02:00+01:00"),
        # Lord Howe changes by half an hour.
        ("hour", "Australia/Lord_Howe", "04-04T15:00", "04-04T15:00", "04-04T15:30", "2026-04-05T01:30+10:30"),
        ("hour", "Australia/Lord_Howe", "10-03T15:30", "10-03T15:30", "10-03T16:00", "2026-10-04T02:30+11:00"),
        ("day", "Europe/Berlin", "10-25T12:00", "10-24T22:00", "10-25T23:00", "2026-10-25"),
        ("month", "Asia/Kathmandu", "10-31T18:15", "10-31T18:15", "11-30T18:15", "2026-11"),
    ],
)  # fmt: skip
def test_periods(by: By, timezone: str, instant: str, start: str, end: str, label: str) -> None:
    instant_ms, start_ms, end_ms = (at(f"2026-{text}Z") for text in (instant, start, end))
    found = period_of(by, timezone, instant_ms + 7)
    assert (found.start_ms, found.end_ms, found.label) == (start_ms, end_ms, label)


@pytest.mark.parametrize("by", ["hour", "day", "month"])
@pytest.mark.parametrize("timezone", ["Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kathmandu"])
def test_periods_partition_a_year(by: By, timezone: str) -> None:
    instant_ms, end_ms = at("2026-01-01T00:00Z"), at("2027-01-01T00:00Z")
    while instant_ms < end_ms:
        period = period_of(by, timezone, instant_ms)
        assert period.start_ms <= instant_ms < period.end_ms
        assert period_of(by, timezone, period.end_ms - 1) == period
        assert period_of(by, timezone, period.end_ms).start_ms == period.end_ms
        local = datetime.fromtimestamp(period.end_ms / 1000, ZoneInfo(timezone))
        assert local.minute == 0 or by == "hour"
        instant_ms = period.end_ms


def test_groups() -> None:
    rows = [
        row("2026-11-24T10:00Z", "p1", "m1"),
        row("2026-11-24T10:00Z", "p2", "m1"),
        row("2026-11-24T11:00Z", "p1", "m2"),
    ]
    assert lines(made(*rows, group="model")) == [("2026-11-24", "m1", 2), ("2026-11-24", "m2", 1)]
    assert lines(made(*rows, group="profile")) == [("2026-11-24", "p1", 2), ("2026-11-24", "p2", 1)]
    (one,) = made(*rows).lines
    assert one.sums == sums(requests=3, input=30)


def test_nothing_used_is_no_line() -> None:
    assert made() == Report((), None, False)


def in_parts(rows: list[tuple[RollupKey, Sums]], by: By, most: int) -> list[Report]:
    """Follow an answer's end until there is none, with room for so many lines."""
    found: list[Report] = []
    from_ms, is_cut = 0, False
    while True:
        rest = [one for one in rows if one[0].quarter_ms >= from_ms]
        part = report(iter([rest]), by, "profile", "UTC", may_go_on=lambda _, count: count < most, resumes=is_cut)
        found.append(part)
        if part.next_ms is None:
            return found
        assert part.next_ms > from_ms
        from_ms, is_cut = part.next_ms, part.is_cut


ROWS = [
    (RollupKey("acme", at("2026-11-24T00:00Z") + quarter * QUARTER_MS, f"p{number}", "m"), sums(requests=1 + number))
    for quarter in range(200)
    for number in range(3)
]


@pytest.mark.parametrize("most", [1, 2, 3, 5, 7, 1000])
@pytest.mark.parametrize("by", ["hour", "day", "month"])
def test_parts_add_up_to_the_whole(by: By, most: int) -> None:
    def total(all_lines: list[Line]) -> dict[tuple[str, str], Sums]:
        found: dict[tuple[str, str], Sums] = {}
        for line in all_lines:
            key = line.period.label, line.group
            found[key] = found.get(key, NOTHING) + line.sums
        return found

    (whole,) = in_parts(ROWS, by, 10**6)
    parts = in_parts(ROWS, by, most)
    every = [line for part in parts for line in part.lines]
    assert total(every) == total(list(whole.lines))
    # A line that says it is whole is the only one of its period and group, and right.
    for line in (one for one in every if one.is_whole):
        assert line in whole.lines
        assert sum((one.period, one.group) == (line.period, line.group) for one in every) == 1


def test_an_answer_is_cut_between_periods_where_it_can_be() -> None:
    parts = in_parts(ROWS, "day", 5)
    assert all(line.is_whole for part in parts for line in part.lines)
    assert [len(part.lines) for part in parts] == [3, 3, 3]


def test_a_period_that_is_too_big_is_given_in_parts_that_say_so() -> None:
    parts = in_parts(ROWS, "month", 2)
    assert len(parts) > 1
    assert not any(line.is_whole for part in parts for line in part.lines)


def test_a_period_that_has_just_ended_is_not_read_again() -> None:
    rows = [row("2026-11-24T10:00Z"), *[row("2026-11-25T10:00Z", f"p{number}") for number in range(3)]]
    first, second = in_parts([*rows, row("2026-11-26T10:00Z")], "day", 4)
    assert ([len(part.lines) for part in (first, second)], first.is_cut) == ([4, 1], False)


def test_periods_after_one_that_came_in_parts_are_whole() -> None:
    later = [(RollupKey("acme", at("2026-12-05T00:00Z"), "p0", "m"), sums(requests=1))]
    lines_of = [line for part in in_parts([*ROWS, *later], "month", 2) for line in part.lines]
    assert {(line.period.label, line.is_whole) for line in lines_of} == {("2026-11", False), ("2026-12", True)}


def test_an_answer_that_goes_on_within_a_period_is_whole_from_the_next_one_on() -> None:
    rows = [row("2026-11-24T10:00Z"), row("2026-12-01T10:00Z"), row("2027-01-01T10:00Z")]
    found = report(iter([rows]), "month", "none", "UTC", may_go_on=lambda _, __: True, resumes=True)
    assert [line.is_whole for line in found.lines] == [False, True, True]
