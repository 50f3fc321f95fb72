"""A second opinion on the price book: every model of it, and every Bedrock model of genai-prices, price by price.

Three facts: genai-prices (MIT, pinned with the development tools) is read as it was installed, no network is touched;
it knows routing (in-Region and geo, or global) and context steps, but neither Regions, nor tiers, nor images, so that
only those prices are compared; what differs is either explained in ``explained.json`` or open, and an open difference
is a failing test. An explanation that explains nothing any more is open too.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from bedrock_meter.money import NANO
from bedrock_meter.pricing.book import Book, load_book
from bedrock_meter.pricing.models import GEO, GLOBAL, IN_REGION, LIST, scopes_of

EXPLAINED = Path(__file__).resolve().parent / "explained.json"

REGION_OF = {
    LIST: "us-east-1",
    GLOBAL: "us-east-1",
    "us": "us-east-1",
    "us-gov": "us-gov-west-1",
    "eu": "eu-west-1",
    "apac": "ap-southeast-1",
    "jp": "ap-northeast-1",
    "au": "ap-southeast-2",
    "ca": "ca-central-1",
    "in": "ap-south-1",
}
"""Scope -> a Region that calls such a model."""

FIELDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
}

AGREE, EXPLAINED_AWAY, OPEN, ONLY_HERE = "agrees", "explained", "open", "only here"


@dataclass(frozen=True, slots=True)
class Row:
    """One price of one model, as both say it.

    Attributes:
        subject: The identifier that a caller uses, and the kind; ``+`` marks the price of a large context.
        ours: US dollars per million; None = we have none.
        theirs: The same of genai-prices.
        state: ``agrees``, ``explained``, ``open`` or ``only here``.
        why: The explanation.
    """

    subject: str
    ours: Decimal | None
    theirs: Decimal | None
    state: str
    why: str = ""


def their_models() -> Sequence[Any]:
    """Return what genai-prices knows of Bedrock."""
    from genai_prices.data import providers

    return next(provider for provider in providers if provider.id == "aws").models


def their_prices(model: Any, at: datetime) -> dict[str, Decimal]:
    """Return a model's prices by kind, ``kind+`` for a large context, in US dollars per million."""
    prices = model.get_prices(at)
    found: dict[str, Decimal] = {}
    for kind, field in FIELDS.items():
        price = getattr(prices, field)
        if price is None:
            continue
        if isinstance(price, Decimal):
            found[kind] = price
        else:
            found[kind] = price.base
            found[f"{kind}+"] = price.tiers[-1].price
    return found


def our_prices(book: Book, model: str, scope: str, at_ms: int) -> dict[str, Decimal]:
    """Return the same of the book, found as a call would find them."""
    routing = {LIST: IN_REGION, GLOBAL: GLOBAL}.get(scope, GEO)
    place = book.find(model, scopes_of(REGION_OF[scope], routing, "" if scope == LIST else scope), at_ms)
    if place is None:
        return {}
    card = place[1]
    found = {kind: price for kind, price in card.tiers.get("default", {}).items() if kind in FIELDS}
    found |= {f"{kind}+": price for kind, price in card.step.get("default", {}).items() if kind in FIELDS}
    return {kind: Decimal(price) / NANO for kind, price in found.items()}


def compare(book: Book, models: Sequence[Any], explained: Mapping[str, Any], at: datetime) -> list[Row]:
    """Compare everything; the open ones are at the end.

    Args:
        book: Ours.
        models: Theirs.
        explained: ``reasons`` by name, and ``differences``: subject -> [ours, theirs, name of the reason]. A difference
            is explained as long as both prices are these.
        at: Instant of the prices.
    """
    differences: dict[str, list[str | None]] = explained["differences"]
    rows: list[Row] = []
    seen: set[str] = set()
    at_ms = int(at.timestamp() * 1000)

    def judge(subject: str, ours: Decimal | None, theirs: Decimal | None) -> None:
        if ours == theirs and ours is not None:
            rows.append(Row(subject, ours, theirs, AGREE))
            return
        held = differences.get(subject, [])
        if held[:2] == [text_of(ours), text_of(theirs)]:
            rows.append(Row(subject, ours, theirs, EXPLAINED_AWAY, explained["reasons"][held[2]]))
        else:
            rows.append(Row(subject, ours, theirs, OPEN))

    for model, scopes in book.cards.items():
        for scope in dict.fromkeys([LIST, *(scope for scope in scopes if scope in REGION_OF)]):
            name = model if scope == LIST else f"{scope}.{model}"
            ours = our_prices(book, model, scope, at_ms)
            match = next((one for one in models if one.is_match(name)), None)
            if match is None:
                rows += [Row(f"{name} {kind}", price, None, ONLY_HERE) for kind, price in ours.items()]
                continue
            seen.add(match.id)
            theirs = their_prices(match, at)
            for kind in dict.fromkeys([*ours, *theirs]):
                judge(f"{name} {kind}", ours.get(kind), theirs.get(kind))
    for one in models:
        if one.id not in seen:
            for kind, price in their_prices(one, at).items():
                judge(f"{one.id} {kind}", None, price)
    for subject in differences.keys() - {row.subject for row in rows if row.state in (EXPLAINED_AWAY, OPEN)}:
        rows.append(Row(subject, None, None, OPEN, "the explanation explains nothing any more"))
    return sorted(rows, key=lambda row: (row.state == OPEN, row.state, row.subject))


def text_of(price: Decimal | None) -> str | None:
    """Return a price as ``explained.json`` and the table have it."""
    return None if price is None else f"{price.normalize():f}"


def checked() -> list[Row]:
    """Compare the committed book with the installed genai-prices, as of the day of the book."""
    book = load_book()
    at = datetime.fromisoformat(book.source.day).replace(tzinfo=UTC)
    return compare(book, their_models(), json.loads(EXPLAINED.read_text(encoding="utf-8")), at)


def main() -> int:
    """Print the table; 1 if a difference is open."""
    options = argparse.ArgumentParser(description="Compare the price book with genai-prices.")
    options.add_argument("--all", action="store_true", help="print agreements, and what only the book has, too")
    everything = options.parse_args().all
    rows = checked()
    for row in rows:
        if everything or row.state in (OPEN, EXPLAINED_AWAY):
            ours, theirs = (text_of(price) or "-" for price in (row.ours, row.theirs))
            print(f"{row.state:<10} {row.subject:<68} {ours:>9} {theirs:>9}  {row.why}".rstrip())
    counts = Counter(row.state for row in rows)
    print("US dollars per million: ours, theirs. " + ", ".join(f"{counts[state]} {state}" for state in COUNTED))
    return 1 if counts[OPEN] else 0


COUNTED = (AGREE, EXPLAINED_AWAY, ONLY_HERE, OPEN)

if __name__ == "__main__":
    sys.exit(main())
