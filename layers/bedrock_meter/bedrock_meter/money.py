"""Money as integers: one nano-USD is a billionth of a US dollar. Nothing here is a float, and nothing is rounded."""

import re

NANO = 1_000_000_000
"""Nano-USD in one US dollar."""

_DOLLARS = re.compile(r"\$?\s*([0-9]{1,9})(?:\.([0-9]{1,9}))?")


def parse_usd(text: str) -> int:
    """Return an amount that a person wrote in US dollars, such as ``5``, ``$5.00`` or ``0.000000075``, in nano-USD.

    Raises:
        ValueError: It is no plain decimal number of at most 9 digits before and 9 after the point.
    """
    found = _DOLLARS.fullmatch(text.strip().replace("_", ""))
    if found is None:
        raise ValueError(f"{text!r} is no amount of US dollars: write for example 5, 12.50 or 0.000000075")
    return int(found[1]) * NANO + int((found[2] or "").ljust(9, "0"))


def usd_text(nano_usd: int) -> str:
    """Return nano-USD as a decimal string in US dollars: exact, at least two decimals, such as ``12.50``."""
    sign = "-" if nano_usd < 0 else ""
    whole, nano = divmod(abs(nano_usd), NANO)
    return f"{sign}{whole}.{f'{nano:09d}'.rstrip('0').ljust(2, '0')}"
