"""The store of overrides: one set after another, and nobody's change lost."""

from pathlib import Path
from typing import Any

import pytest

from bedrock_meter.cli import main, prices
from bedrock_meter.pricing.overrides import NONE, Override, OverrideSet
from bedrock_meter.pricing.wiring import rater_for
from bedrock_meter.settings import Tables
from bedrock_meter.storage.prices import MAXIMUM_BYTES, Change, DynamoDBOverrideStore
from tests.doubles.prices import MemoryOverrideStore
from tests.unit.pricing.test_rating import DAY, call

FIRST = OverrideSet(1, (Override(0, percent_e6=10_000_000), Override(5, 9, model="x.*", tenant="acme", percent_e6=-1)))
SECOND = OverrideSet(2, (*FIRST.rows, Override(7, prices={"default": {"input": 1}, "flex": {"output": 0}})))


@pytest.fixture(params=["memory", "dynamodb"])
def store(request: pytest.FixtureRequest) -> Any:
    if request.param == "memory":
        return MemoryOverrideStore()
    client = request.getfixturevalue("endpoint").client("dynamodb")
    return DynamoDBOverrideStore(client, request.getfixturevalue("tables"))


def test_there_is_an_empty_set_before_the_first(store: Any) -> None:
    assert store.read() == NONE
    assert list(store.changes()) == []


def test_a_set_is_read_as_it_was_written_and_every_change_is_noted(store: Any) -> None:
    assert store.replace(NONE, FIRST, now_ms=DAY, by="arn:aws:iam::111122223333:user/ada")
    assert store.read() == FIRST
    assert store.replace(FIRST, SECOND, now_ms=DAY + 1, by="arn:aws:iam::111122223333:user/bob")
    assert store.read() == SECOND
    assert list(store.changes()) == [
        Change(1, DAY, "arn:aws:iam::111122223333:user/ada", 2),
        Change(2, DAY + 1, "arn:aws:iam::111122223333:user/bob", 3),
    ]


def test_who_comes_second_changes_nothing(store: Any) -> None:
    assert store.replace(NONE, FIRST, now_ms=DAY, by="ada")
    assert not store.replace(NONE, OverrideSet(1, ()), now_ms=DAY + 1, by="bob")
    assert store.read() == FIRST
    assert store.replace(FIRST, SECOND, now_ms=DAY + 2, by="ada")
    assert not store.replace(FIRST, OverrideSet(2, ()), now_ms=DAY + 3, by="bob")
    assert store.read() == SECOND
    assert [change.by for change in store.changes()] == ["ada", "ada"]


def test_a_deployed_rater_counts_the_overrides_of_its_tables(endpoint: Any, tables: Tables) -> None:
    client = endpoint.client("dynamodb")
    now = [DAY]
    rater = rater_for(client, tables, lambda: now[0])
    assert rater.rate(call(input=1_000)).cost_nano_usd == 3_300_000
    assert DynamoDBOverrideStore(client, tables).replace(NONE, FIRST, now_ms=DAY, by="ada")
    now[0] += 60_000
    rated = rater.rate(call(input=1_000))
    assert rated.cost_nano_usd == 3_630_000
    assert rated.price_version.endswith("+1")


def test_a_file_is_applied_to_a_stack_in_the_callers_name(
    endpoint: Any, tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {f"{name.capitalize()}Table": getattr(tables, name) for name in ("ledger", "usage", "quotas", "tenants")}
    monkeypatch.setattr(prices, "outputs_of_stack", lambda stack: names)
    file = tmp_path / "prices.yaml"
    file.write_text("overrides: [{tenant: acme, markup: 15%, from: 2026-01-01}]", encoding="utf-8")
    assert main.execute(["prices", "apply", str(file)]) == 0
    assert main.execute(["prices", "apply", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "version 1: as it was"
    (change,) = DynamoDBOverrideStore(endpoint.client("dynamodb"), tables).changes()
    assert change.by.startswith("arn:aws:")
    rated = rater_for(endpoint.client("dynamodb"), tables).rate(call(input=1_000))
    assert rated.cost_nano_usd == 3_795_000


def test_a_set_that_fits_no_item_is_refused_before_it_is_sent() -> None:
    from bedrock_meter.errors import InvalidDefinition

    rows = tuple(Override(place, profile="x" * 100, percent_e6=1) for place in range(MAXIMUM_BYTES // 100))
    with pytest.raises(InvalidDefinition, match="too many for one item"):
        DynamoDBOverrideStore(None, Tables("", "", "", "t")).replace(NONE, OverrideSet(1, rows), now_ms=DAY, by="ada")
