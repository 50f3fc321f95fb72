"""Items of earlier versions: read as what they say, never as more."""

from bedrock_meter.invocations.record import TokenCounts
from bedrock_meter.storage.dynamodb import Item, number, text
from bedrock_meter.storage.recording import LEDGER_SCHEMA, entry_item, entry_of
from bedrock_meter.storage.rollups import rollup_of
from bedrock_meter.tenants.attribution import Attribution
from bedrock_meter.usage.ledger import entry_for
from tests.doubles.rater import TestPrices
from tests.doubles.records import NOW_MS, invocation, sums

FIRST_ENTRY: Item = {
    "pk": text("123456789012#us-east-1#r1"),
    "schema": number(1),
    "tenant": text("acme"),
    "rule": text("profile"),
    "profile": text("acmeprofile1"),
    "model": text("a.model"),
    "operation": text("Converse"),
    "event_ms": number(NOW_MS),
    "expires": number(1_829_000_000),
    "input": number(10),
    "output": number(5),
    "cache_read": number(0),
    "cache_write": number(7),
}


def test_an_entry_of_the_first_schema_is_never_rated_and_its_details_are_unknown() -> None:
    entry = entry_of(FIRST_ENTRY)
    assert (entry.cost_nano_usd, entry.price_version, entry.assumptions) == (None, "", "")
    assert (entry.cache_write_1h, entry.tier, entry.images, entry.routing) == (None, None, None, None)
    assert entry.sums == sums(1, unpriced=1, input=10, output=5, cache_write=7)


def test_a_row_of_the_first_schema_is_unpriced_and_not_free() -> None:
    row = {"pk": text("acme"), "sk": text("2026-11-24T01:45Z#p#m"), "schema": number(1), "requests": number(4)}
    assert rollup_of(row)[1] == sums(4, unpriced=4)
    raised = {**row, "priced": number(3), "cost_nano_usd": number(90)}
    assert rollup_of(raised)[1] == sums(4, cost=90, unpriced=1)


def test_an_entry_holds_what_rating_needs_and_is_read_back_whole() -> None:
    attribution = Attribution("acme", "profile", "acmeprofile1", "a.model", "geo")
    record = invocation("r1", tokens=TokenCounts(1, 2, 3, 4))
    entry = entry_for(record, attribution, now_ms=NOW_MS, retention_ms=0).rated(TestPrices())
    item = entry_item(entry)
    assert (item["schema"], item["routing"], item["assumptions"]) == (
        number(LEDGER_SCHEMA),
        text("geo"),
        text("cache-write-5m"),
    )
    assert entry_of(item) == entry
    assert not {"cache_write_1h", "tier", "images", "error"} & item.keys()


def test_a_free_call_has_a_cost_and_an_unpriced_one_has_none() -> None:
    attribution = Attribution("acme", "profile", "acmeprofile1", "-")
    entry = entry_for(invocation("r1"), attribution, now_ms=NOW_MS, retention_ms=0).rated(TestPrices())
    assert "cost_nano_usd" not in entry_item(entry)
    assert entry_item(entry)["price_version"] == text("test-1")
