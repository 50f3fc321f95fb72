import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_meter.money import parse_usd, usd_text


@pytest.mark.parametrize(
    ("text", "nano_usd"),
    [("5", 5_000_000_000), ("$5.00", 5_000_000_000), (" 0.000000075 ", 75), ("1_000.5", 1_000_500_000_000), ("0", 0)],
)
def test_dollars_that_people_write(text: str, nano_usd: int) -> None:
    assert parse_usd(text) == nano_usd


@pytest.mark.parametrize(
    "text", ["", "-1", "1e3", "0.0000000001", "five", "1.2.3", "1234567890", "NaN", ".5", "\u0665"]
)
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match="is no amount of US dollars"):
        parse_usd(text)


@pytest.mark.parametrize(
    ("nano_usd", "text"), [(0, "0.00"), (75, "0.000000075"), (12_500_000_000, "12.50"), (-1, "-0.000000001")]
)
def test_dollars_that_people_read(nano_usd: int, text: str) -> None:
    assert usd_text(nano_usd) == text


@given(st.integers(min_value=0, max_value=10**18 - 1))
def test_nothing_is_lost_in_writing(nano_usd: int) -> None:
    assert parse_usd(usd_text(nano_usd)) == nano_usd
