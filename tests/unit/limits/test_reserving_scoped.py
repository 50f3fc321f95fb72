"""Reserving where a limit is in US dollars, or on some models only."""

from dataclasses import replace

import pytest

from bedrock_meter.errors import UnknownCost
from bedrock_meter.limits.costs import Costs
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.gauge import Gauge, bucket_name
from bedrock_meter.limits.installation import install_limits
from bedrock_meter.limits.limit import InstalledLimit, Layout, Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.reservations import Reservation
from bedrock_meter.limits.reserving import REMEMBER_MS, Reservations
from bedrock_meter.limits.scope import Scope
from tests.doubles.memory import MemoryInstallationStore
from tests.doubles.rater import UNPRICED_MODEL, TestPrices
from tests.doubles.records import limit
from tests.unit.limits.reserving_bench import Bench


class Priced(Bench):
    """A tenant with a limit in US dollars, and one call of Claude a day."""

    def __init__(self, *, hard: bool = True) -> None:
        super().__init__()
        money = InstalledLimit(limit("1h", 10_000, hard=hard, meter=Meter.COST_USD), "0", 1)
        claude = replace(limit("1d", 1, meter=Meter.REQUESTS), scope=Scope(("anthropic.claude-*",)))
        layout = Layout(1, (money, InstalledLimit(claude, "1", 1)))
        self.tables.gauges["acme"] = Gauge("acme", 1, layout, {})

    def process(self) -> Reservations:
        made = super().process()
        made._costs = Costs(TestPrices(), "us-east-1")
        return made

    def of_model(self, model: str, cost_nano_usd: int | None = None) -> Reservation | None:
        return self.reservations.reserve(
            "acme", Estimate(input_tokens=1_000, cost_nano_usd=cost_nano_usd, model=model)
        ).reservation


def test_an_estimate_is_rated_where_a_limit_is_in_dollars_and_shrinks_in_dollars() -> None:
    bench = Priced()
    held = bench.of_model("a.model")
    assert held is not None
    assert (held.amounts, held.estimate) == ({Meter.COST_USD: 3_000}, Estimate(input_tokens=1_000, model="a.model"))
    assert bench.reservations.shrink("acme", held.id, {}, lifetime_ms=600_000).amounts == {Meter.COST_USD: 3_000}
    assert bench.reservations.shrink("acme", held.id, {"input_tokens": 400}).amounts == {Meter.COST_USD: 1_200}
    assert bench.reservations.shrink("acme", held.id, {"cost_nano_usd": 7}).amounts == {Meter.COST_USD: 7}
    assert bench.reserved == 7


def test_dollars_run_out() -> None:
    bench = Priced()
    assert [bench.of_model("a.model") is not None for _ in range(4)] == [True, True, True, False]
    assert bench.of_model("a.model", cost_nano_usd=1_000) is not None
    assert bench.reserved == 10_000


def test_what_has_no_price_is_refused_by_a_hard_limit_and_held_by_none_of_a_soft_one() -> None:
    with pytest.raises(UnknownCost):
        Priced().of_model(UNPRICED_MODEL)
    bench = Priced(hard=False)
    assert bench.of_model(UNPRICED_MODEL) is not None
    assert bench.reserved == 0
    bench.use(10_000)
    assert bench.process().reserve("acme", Estimate(model=UNPRICED_MODEL)).reservation is None


def test_a_limit_on_some_models_denies_no_others_and_holds_what_may_be_meant() -> None:
    bench = Priced()
    first = bench.of_model("anthropic.claude-opus-4-8", cost_nano_usd=1)
    assert first is not None
    assert [one.key for one in first.held] == ["11", "u"]
    assert bench.of_model("us.anthropic.claude-opus-4-8", cost_nano_usd=1) is None
    assert bench.of_model("-", cost_nano_usd=1) is None
    assert bench.of_model("a.model", cost_nano_usd=1) is not None
    bench.reservations.release("acme", first.id)
    assert bench.of_model("-", cost_nano_usd=1) is not None


def test_the_next_limit_of_a_slot_does_not_inherit_what_the_last_one_held() -> None:
    bench = Bench()
    claude = replace(limit("1h", 10**9, meter=Meter.INPUT_TOKENS), name="claude", scope=Scope(("anthropic.*",)))
    llama = replace(limit("1h", 10, meter=Meter.REQUESTS), name="llama", scope=Scope(("meta.*",)))

    def install(*wanted: Limit) -> None:
        assert install_limits(
            MemoryInstallationStore(bench.tables), "acme", wanted, clock=lambda: bench.now_ms, new_id=lambda: "x"
        )

    def reserve(amount: int, model: str) -> Reservation | None:
        return bench.process().reserve("acme", Estimate(input_tokens=amount, model=model)).reservation

    install(claude)
    gone = reserve(5_000_000, "anthropic.claude-opus-4-8")
    assert gone is not None
    install(limit("2h", meter=Meter.OUTPUT_TOKENS))
    install(llama)
    assert [one.slot for one in bench.tables.gauges["acme"].layout.limits] == ["1"]
    assert bench.reserved == 0
    first, second = reserve(1, "meta.llama3-8b-instruct-v1:0"), reserve(1, "meta.llama3-8b-instruct-v1:0")
    assert first is not None
    assert second is not None
    assert bench.reserved == 2
    bench.reservations.release("acme", gone.id)
    assert bench.reserved == 2, "what is given back is taken from the name under which it was held"
    bench.reservations.release("acme", first.id)
    assert bench.reserved == 1


def test_a_changed_maximum_keeps_what_is_held() -> None:
    bench = Bench()
    claude = replace(limit("1h", 100, meter=Meter.REQUESTS), scope=Scope(("anthropic.*",)))
    store = MemoryInstallationStore(bench.tables)
    for maximum in (100, 1):
        wanted = [replace(claude, maximum=maximum)]
        assert install_limits(store, "acme", wanted, clock=lambda: bench.now_ms, new_id=lambda: "x")
        model = "anthropic.claude-opus-4-8"
        assert (bench.process().reserve("acme", Estimate(model=model)).reservation is None) == (maximum == 1)
    assert bench.reserved == 1


def test_a_call_without_a_price_denies_also_a_process_that_remembers_the_gauge_from_before() -> None:
    bench = Bench()
    money = InstalledLimit(limit("1h", 10_000, hard=True, meter=Meter.COST_USD), "0", 1)
    bench.tables.gauges["acme"] = Gauge("acme", 1, Layout(1, (money,)), {})
    estimate = Estimate(cost_nano_usd=100)
    assert bench.reservations.reserve("acme", estimate).reservation is not None
    bench.tables.change_gauge("acme", adds={bucket_name("0", money.window, bench.now_ms) + "-": 1})
    denied = bench.reservations.reserve("acme", estimate)
    assert denied.denied_by is not None
    assert denied.denied_by.is_denied_by_unpriced
    assert denied.decision is not None
    bench.now_ms += denied.decision.retry_after_ms or 0
    assert bench.reservations.reserve("acme", estimate).reservation is not None


def test_once_it_is_rated_it_denies_no_longer() -> None:
    bench = Bench()
    money = InstalledLimit(limit("1h", 10_000, hard=True, meter=Meter.COST_USD), "0", 1)
    mark = bucket_name("0", money.window, bench.now_ms) + "-"
    bench.tables.gauges["acme"] = Gauge("acme", 1, Layout(1, (money,)), {mark: 1})
    assert bench.reservations.reserve("acme", Estimate(cost_nano_usd=1)).reservation is None
    bench.tables.change_gauge("acme", adds={mark: -1, mark[:-1]: 500})
    bench.now_ms += REMEMBER_MS + 1
    assert bench.reservations.reserve("acme", Estimate(cost_nano_usd=9_500)).reservation is not None
