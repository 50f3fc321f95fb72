"""Where a calendar window will end if it goes on as it began.

The method: usage is spread evenly over time, so what is used so far, times the window's length, divided by the part of
the window that has passed, is what will have been used at its end (rounded down). Nothing is said before a tenth of the
window has passed: until then one busy hour would decide. It knows no working days and no season.

Time alone lowers a projection, so there is nothing to wait for; except for the instant before which nothing is said:
what was used until then may be worth a word there.
"""

PASSED_PARTS = 10
"""A projection needs a tenth of the window."""


def projected_from_ms(start_ms: int, end_ms: int) -> int:
    """Return the first instant of the window [start, end) at which there is a projection."""
    return start_ms + -(-(end_ms - start_ms) // PASSED_PARTS)


def projected(used: int, start_ms: int, end_ms: int, at_ms: int) -> int | None:
    """Return what will have been used at the end of the window [start, end); None while nothing can be said.

    Args:
        used: What is used in it at ``at_ms``.
        start_ms: Its start.
        end_ms: Its end.
        at_ms: An instant in it.
    """
    if at_ms < projected_from_ms(start_ms, end_ms):
        return None
    return used * (end_ms - start_ms) // (at_ms - start_ms)
