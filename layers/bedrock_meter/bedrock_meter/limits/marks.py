"""What is left of buckets of which some are below 0, and marks: calls of a bucket whose amount is not known.

A bucket or mark that is below 0 stands for a call that was rated anew after a limit had been seeded: the seed had put
the call into the bucket of the end of its quarter-hour (``seeding.py``), the rating takes away at the call's own
instant. So what is below 0 takes away from later buckets, up to that one; from earlier or later calls it takes nothing.
"""

from collections.abc import Mapping

from bedrock_meter.limits.windows import QUARTER_MS, SUB_BUCKETS, CalendarWindow, RollingWindow, Window

UNCOUNTED = "-"
"""Ends the name of the mark beside a bucket, and of the running total of all marks of a limit."""

Marks = Mapping[int, int]
"""Marks of one limit by the number of their bucket."""


def marked_in_window(window: Window, marks: Marks, now_ms: int) -> int:
    """Return what is marked in the window; a sub-bucket that is partly inside counts whole."""
    if isinstance(window, CalendarWindow):
        return max(0, marks.get(window.bounds(now_ms)[0] // QUARTER_MS, 0))
    oldest = now_ms // window.sub_ms - SUB_BUCKETS
    return sum(count for number, count in left_of(window, marks).items() if number >= oldest)


def unmarked_from_ms(window: Window, marks: Marks, now_ms: int) -> int:
    """Return the first instant, not before ``now_ms``, at which no mark is in the window if none is set any more."""
    if isinstance(window, CalendarWindow):
        while marked_in_window(window, marks, now_ms):
            now_ms = window.bounds(now_ms)[1]
        return now_ms
    return max((now_ms, *((number + SUB_BUCKETS + 1) * window.sub_ms for number in left_of(window, marks))))


def moved_to(number: int, window: RollingWindow) -> int:
    """Return the last bucket in which seeding may have put what belongs to this one: that of its quarter-hour's end."""
    if window.length_ms < QUARTER_MS:
        return number
    return (-(-(number + 1) * window.sub_ms // QUARTER_MS) * QUARTER_MS - 1) // window.sub_ms


def left_of(window: Window, counts: Mapping[int, int]) -> dict[int, int]:
    """Return what is left by the number of its bucket: above 0 alone, less what buckets below 0 take away of it.

    The earliest takes first, of the earliest, so that the order in which buckets are read does not matter.
    """
    left = {number: counts[number] for number in sorted(counts) if counts[number] > 0}
    if len(left) == len(counts) or isinstance(window, CalendarWindow):
        return left
    for number, count in sorted(counts.items()):
        if count < 0:
            debt, last = -count, moved_to(number, window)
            for later in left:
                if number < later <= last:
                    taken = min(debt, left[later])
                    left[later] -= taken
                    debt -= taken
    return {number: count for number, count in left.items() if count}
