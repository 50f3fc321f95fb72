"""The price book: rate cards by model and scope, each from a day on.

Three facts: prices are whole numbers of nano-USD per million tokens (or images, or requests), which is exact for every
price that AWS publishes; every kind and tier has a price of its own, so that cache reads at a twentieth and batch at a
half are data; the file is made by ``make prices`` and holds its source, its licence and its version.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec
from msgspec import Struct

from bedrock_meter.errors import ConfigurationError

SCHEMA = 1
FILE = Path(__file__).with_name("book.json")

PER = 1_000_000
"""Prices are per so many units."""

Tiers = Mapping[str, Mapping[str, int]]
"""Tier (``default``, ``batch``, ``flex``, ``priority``) -> kind -> nano-USD per million units."""


class Card(Struct, frozen=True):
    """What one model costs in one scope.

    Attributes:
        tiers: Prices.
        from_ms: First instant of these prices; they end where the next card of the scope begins.
        above: Size of the context, in tokens, above which ``step`` holds for the whole call; 0 = there is none.
        step: Prices of calls with a larger context.
        assumes: Codes of what every price of this card takes for granted.
    """

    tiers: dict[str, dict[str, int]]
    from_ms: int = 0
    above: int = 0
    step: dict[str, dict[str, int]] = {}
    assumes: tuple[str, ...] = ()

    def at(self, context_tokens: int) -> Tiers:
        """Return the prices for a context of this size: the step's when it is exceeded, not when it is reached."""
        return self.step if self.above and context_tokens > self.above else self.tiers


class Source(Struct, frozen=True):
    """Where the prices come from."""

    version: str
    day: str
    wheel_sha256: str
    file: str
    file_sha256: str


class Book(Struct, frozen=True):
    """All cards.

    Attributes:
        schema: Form of the file.
        version: Day of its newest prices and a hash of all its cards.
        source: What it was made from.
        cards: Model -> scope -> cards, the earliest first.
    """

    schema: int
    version: str
    source: Source
    cards: dict[str, dict[str, list[Card]]]

    def find(self, model: str, scopes: Sequence[str], event_ms: int) -> tuple[str, Card] | None:
        """Return the first of ``scopes`` that has a card at this instant, and the card."""
        held = self.cards.get(model)
        for scope in scopes if held else ():
            for card in reversed(held.get(scope, ())) if held else ():
                if card.from_ms <= event_ms:
                    return scope, card
        return None


def read_book(content: bytes) -> Book:
    """Read a book.

    Raises:
        ConfigurationError: It is none, or of a form that this version does not know.
    """
    try:
        book = msgspec.json.decode(content, type=Book)
    except msgspec.DecodeError as problem:
        raise ConfigurationError(f"the price book cannot be read: {problem}") from problem
    if book.schema != SCHEMA:
        raise ConfigurationError(f"the price book has schema {book.schema}; this version reads {SCHEMA}")
    return book


@lru_cache(maxsize=1)
def load_book() -> Book:
    """Return the book that this package brings along; read once in a process."""
    return read_book(FILE.read_bytes())
