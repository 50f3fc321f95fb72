"""Every model of the book against genai-prices; what differs is explained or fails here."""

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from bedrock_meter.pricing.book import Book, Card, Source, load_book
from prices import crosscheck
from prices.crosscheck import AGREE, EXPLAINED_AWAY, ONLY_HERE, OPEN, compare

AT = datetime(2026, 11, 25, tzinfo=UTC)
NOTHING: dict[str, Any] = {"reasons": {}, "differences": {}}


class Theirs:
    """A model as genai-prices has it, with one price."""

    def __init__(self, identifier: str, price: str) -> None:
        self.id = identifier
        self._price = Decimal(price)

    def is_match(self, name: str) -> bool:
        return name == self.id

    def get_prices(self, at: datetime) -> Any:
        return type("Prices", (), dict.fromkeys(crosscheck.FIELDS.values()) | {"input_mtok": self._price})


def book(price: int) -> Book:
    return Book(1, "test", Source("", "", "", "", ""), {"x.y": {"list": [Card({"default": {"input": price}})]}})


def test_no_difference_is_open() -> None:
    rows = crosscheck.checked()
    assert [row for row in rows if row.state == OPEN] == [], "`make prices-check` shows them"


def test_every_model_is_compared_or_named_as_only_here() -> None:
    rows = crosscheck.checked()
    counts = Counter(row.state for row in rows)
    assert counts[AGREE] > counts[EXPLAINED_AWAY]
    subjects = {row.subject.split(" ")[0] for row in rows}
    for model, scopes in load_book().cards.items():
        if any(
            card.tiers["default"].keys() & crosscheck.FIELDS.keys()
            for scope, cards in scopes.items()
            for card in cards
            if scope in crosscheck.REGION_OF
        ):
            assert any(subject.endswith(model) for subject in subjects), model


@pytest.mark.parametrize(
    ("price", "theirs", "states"),
    [
        (3_000_000_000, [Theirs("x.y", "3")], [AGREE]),
        (3_000_000_001, [Theirs("x.y", "3")], [OPEN]),
        (3_000_000_000, [], [ONLY_HERE]),
        (3_000_000_000, [Theirs("x.z", "3")], [ONLY_HERE, OPEN]),
    ],
)
def test_a_new_difference_is_open(price: int, theirs: list[Theirs], states: list[str]) -> None:
    assert [row.state for row in compare(book(price), theirs, NOTHING, AT)] == states


def test_an_explanation_holds_for_these_two_prices_only() -> None:
    explained = {"reasons": {"r": "because"}, "differences": {"x.y input": ["4", "3", "r"]}}
    (row,) = compare(book(4_000_000_000), [Theirs("x.y", "3")], explained, AT)
    assert (row.state, row.why) == (EXPLAINED_AWAY, "because")
    (row,) = compare(book(5_000_000_000), [Theirs("x.y", "3")], explained, AT)
    assert row.state == OPEN


def test_an_explanation_of_nothing_is_open() -> None:
    explained = {"reasons": {"r": "because"}, "differences": {"x.y input": ["4", "3", "r"]}}
    rows = compare(book(3_000_000_000), [Theirs("x.y", "3")], explained, AT)
    assert [row.state for row in rows] == [AGREE, OPEN]


def test_the_table_says_how_many_of_each(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["crosscheck"])
    assert crosscheck.main() == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("US dollars per million: ours, theirs. ")
    assert last.endswith(" 0 open")
