"""Hand-checked costs. A price in USD per million tokens times 1,000 is its nano-USD per token: 3.30 -> 3,300."""

import pytest

from bedrock_meter.invocations.record import TokenCounts
from bedrock_meter.pricing.book import Book, Card, Source, load_book
from bedrock_meter.pricing.overrides import Override, OverrideSet
from bedrock_meter.pricing.rating import ASSUMPTIONS, Call, Rater

DAY = 1_795_564_800_000
SONNET = "anthropic.claude-sonnet-4-6"
SONNET_45 = "anthropic.claude-sonnet-4-5-20250929-v1:0"
PRO = "amazon.nova-pro-v1:0"
CANVAS = "amazon.nova-canvas-v1:0"


def call(
    model: str = SONNET,
    *,
    input: int = 0,
    output: int = 0,
    cache_read: int = 0,
    cache_write: int = 0,
    region: str = "us-east-1",
    routing: str | None = None,
    tenant: str = "acme",
    profile: str = "a1c3m5e7k9q2",
    event_ms: int = DAY,
    cache_write_1h: int | None = None,
    tier: str | None = None,
    images: int | None = None,
    batch: bool = False,
) -> Call:
    tokens = TokenCounts(input, output, cache_read, cache_write)
    return Call(tenant, profile, model, region, routing, event_ms, tokens, cache_write_1h, tier, images, batch)


@pytest.fixture(scope="module")
def rater() -> Rater:
    return Rater(load_book())


# --- where a price comes from


@pytest.mark.parametrize(
    ("model", "routing", "region", "cost", "scope"),
    [
        # 1,000 x 3,300 + 100 x 16,500 = 3,300,000 + 1,650,000: a tenth more than global, in-Region and in a geo
        (SONNET, "in-region", "us-east-1", 4_950_000, "us"),
        (SONNET, None, "us-west-2", 4_950_000, "us"),
        (f"us.{SONNET}", None, "us-east-1", 4_950_000, "us"),
        (f"eu.{SONNET}", None, "eu-central-1", 4_950_000, "eu"),
        (SONNET, "geo", "ap-northeast-1", 4_950_000, "jp"),
        (SONNET, "geo", "ap-southeast-2", 4_950_000, "au"),
        (f"apac.{SONNET}", None, "ap-southeast-2", 4_950_000, "apac"),
        # 1,000 x 3,000 + 100 x 15,000 = 3,000,000 + 1,500,000
        (f"global.{SONNET}", None, "us-east-1", 4_500_000, "global"),
        (SONNET, "global", "eu-west-1", 4_500_000, "global"),
        (f"us.{SONNET}", "global", "us-east-1", 4_500_000, "global"),
        (f"arn:aws:bedrock:us-east-1::foundation-model/{SONNET}", None, "us-east-1", 4_950_000, "us"),
        (
            f"arn:aws:bedrock:us-east-1:111122223333:inference-profile/global.{SONNET}",
            None,
            "us-east-1",
            4_500_000,
            "global",
        ),
        # GovCloud: a fifth more than global: 1,000 x 3,600 + 100 x 18,000 = 3,600,000 + 1,800,000
        (SONNET_45, None, "us-gov-west-1", 5_400_000, "us-gov-west-1"),
        (f"us-gov.{SONNET_45}", None, "us-gov-east-1", 5_400_000, "us-gov-east-1"),
        # Nova Pro: 1,000 x 800 + 100 x 3,200 = 1,120,000; in Europe 1,000 x 1,050 + 100 x 4,200 = 1,470,000
        (PRO, None, "us-east-1", 1_120_000, "us"),
        (PRO, None, "eu-north-1", 1_470_000, "eu"),
        (f"eu.{PRO}", None, "eu-north-1", 1_470_000, "eu"),
        # Llama 3 70B has Regions of its own: 1,000 x 2,650 + 100 x 3,500 = 3,000,000; sa-east-1: 4,450 and 5,880
        ("meta.llama3-70b-instruct-v1:0", None, "us-east-1", 3_000_000, "us-east-1"),
        ("meta.llama3-70b-instruct-v1:0", None, "sa-east-1", 5_038_000, "sa-east-1"),
        # The known correction: 1,000 x 42 + 100 x 168 = 58,800 in Tokyo; elsewhere 1,000 x 37 + 100 x 148 = 51,800
        ("apac.amazon.nova-micro-v1:0", None, "ap-northeast-1", 58_800, "ap-northeast-1"),
        ("apac.amazon.nova-micro-v1:0", None, "ap-southeast-1", 51_800, "apac"),
    ],
)
def test_region_and_routing_choose_the_card(
    rater: Rater, model: str, routing: str | None, region: str, cost: int, scope: str
) -> None:
    reckoning = rater.reckon(call(model, routing=routing, region=region, input=1_000, output=100, tier="default"))
    assert (reckoning.cost_nano_usd, reckoning.scope) == (cost, scope), reckoning


def test_a_region_without_prices_takes_the_list_and_says_so(rater: Rater) -> None:
    # DeepSeek V3: 1,000 x 580 + 100 x 1,680 = 748,000
    rated = rater.rate(call("deepseek.v3-v1:0", region="eu-north-1", input=1_000, output=100, tier="default"))
    assert (rated.cost_nano_usd, rated.assumptions) == (748_000, ("region-list-price",))
    at_home = rater.rate(call("deepseek.v3-v1:0", region="us-west-2", input=1_000, output=100, tier="default"))
    assert (at_home.cost_nano_usd, at_home.assumptions) == (748_000, ())


@pytest.mark.parametrize("region", ["us-gov-west-1", "us-iso-east-1", "eu-isoe-west-1", "eusc-de-east-1", "cn-north-1"])
@pytest.mark.parametrize("model", ["deepseek.v3-v1:0", SONNET, f"us.{SONNET}", f"eu.{SONNET}", f"global.{SONNET}"])
def test_other_partitions_take_no_price_of_the_commercial_one(rater: Rater, region: str, model: str) -> None:
    assert rater.rate(call(model, region=region, input=1)).cost_nano_usd is None


def test_a_model_of_govcloud_takes_no_other_price(rater: Rater) -> None:
    assert rater.rate(call(f"us-gov.{SONNET}", input=1)).cost_nano_usd is None
    assert rater.rate(call(f"us-gov.{SONNET}", input=1, routing="global")).cost_nano_usd is None
    assert rater.rate(call(SONNET_45, region="us-gov-west-1", input=1, routing="global")).cost_nano_usd is None


def test_a_global_call_has_global_prices_or_none(rater: Rater) -> None:
    assert rater.rate(call(PRO, routing="global", input=1)).cost_nano_usd is None


# --- kinds


def test_cache_writes_that_the_record_does_not_split_are_taken_for_five_minutes(rater: Rater) -> None:
    # 3 x 3,300 + 52 x 16,500 + 1,000 x 330 + 24,479 x 4,125 = 9,900 + 858,000 + 330,000 + 100,975,875
    rated = rater.rate(call(input=3, output=52, cache_read=1_000, cache_write=24_479))
    assert (rated.cost_nano_usd, rated.assumptions) == (102_173_775, ("cache-write-5m",))


def test_a_known_split_is_priced_by_its_parts(rater: Rater) -> None:
    # 700 x 4,125 + 300 x 6,600 = 2,887,500 + 1,980,000
    rated = rater.rate(call(cache_write=1_000, cache_write_1h=300))
    assert (rated.cost_nano_usd, rated.assumptions) == (4_867_500, ())
    assert rater.rate(call(cache_write=1_000, cache_write_1h=0)).cost_nano_usd == 1_000 * 4_125
    assert rater.rate(call(cache_write=1_000, cache_write_1h=1_000)).cost_nano_usd == 1_000 * 6_600


def test_a_split_of_no_writes_is_nothing(rater: Rater) -> None:
    rated = rater.rate(call(cache_write_1h=1))
    assert (rated.cost_nano_usd, rated.assumptions) == (0, ())


@pytest.mark.parametrize("nonsense", [-1, 1_001])
def test_a_split_that_cannot_be_is_no_split(rater: Rater, nonsense: int) -> None:
    rated = rater.rate(call(cache_write=1_000, cache_write_1h=nonsense))
    assert (rated.cost_nano_usd, rated.assumptions) == (1_000 * 4_125, ("cache-write-5m",))


@pytest.mark.parametrize(
    ("model", "input_price", "read_price"),
    [
        ("global.anthropic.claude-opus-5", 5_000, 500),  # a tenth
        ("global.anthropic.claude-opus-5-5", 4_000, 200),  # a twentieth
        ("global.anthropic.claude-fable-5-1", 10_000, 250),  # a fortieth
        ("us.amazon.nova-pro-v1:0", 800, 200),  # a quarter
    ],
)
def test_what_a_cache_read_costs_is_data(rater: Rater, model: str, input_price: int, read_price: int) -> None:
    assert rater.rate(call(model, input=10)).cost_nano_usd == 10 * input_price
    assert rater.rate(call(model, cache_read=10)).cost_nano_usd == 10 * read_price


def test_a_kind_without_a_price_makes_the_call_unpriced(rater: Rater) -> None:
    llama = "meta.llama3-70b-instruct-v1:0"
    assert rater.rate(call(llama, input=5)).cost_nano_usd == 5 * 2_650
    reckoning = rater.reckon(call(llama, input=5, cache_read=1))
    assert reckoning.cost_nano_usd is None
    assert "cache_read" in reckoning.unpriced


# --- tiers and batch


@pytest.mark.parametrize(
    ("tier", "batch", "cost", "assumptions"),
    [
        ("default", False, 1_120_000, ()),  # 1,000 x 800 + 100 x 3,200
        (None, False, 1_120_000, ("tier-default",)),
        ("flex", False, 560_000, ()),  # 1,000 x 400 + 100 x 1,600
        ("priority", False, 1_960_000, ()),  # 1,000 x 1,400 + 100 x 5,600
        (None, True, 560_000, ()),  # batch: 1,000 x 400 + 100 x 1,600
        ("priority", True, 560_000, ()),  # a batch job has no tier
        ("reserved", False, None, ("tier-reserved",)),
        ("express", False, None, ()),
    ],
)
def test_the_tier_chooses_the_prices(
    rater: Rater, tier: str | None, batch: bool, cost: int | None, assumptions: tuple[str, ...]
) -> None:
    rated = rater.rate(call(PRO, input=1_000, output=100, tier=tier, batch=batch))
    assert (rated.cost_nano_usd, rated.assumptions) == (cost, assumptions)


def test_a_model_without_tiers_assumes_none(rater: Rater) -> None:
    assert rater.rate(call(input=1)).assumptions == ()
    # Haiku 4.5 has prices for batch, which is no tier that a call may have been served by
    assert rater.rate(call("anthropic.claude-haiku-4-5-20251001-v1:0", input=1)).assumptions == ()
    assert rater.rate(call(input=1, tier="flex")).cost_nano_usd is None


def test_batch_without_a_batch_price_is_unpriced(rater: Rater) -> None:
    assert rater.rate(call("ai21.jamba-1-5-mini-v1:0", input=1, batch=True)).cost_nano_usd is None


# --- the step of a large context


def test_above_the_step_everything_costs_more_and_at_it_nothing_does(rater: Rater) -> None:
    # Sonnet 4.5 in the US: 200,000 x 3,300 + 10 x 16,500 = 660,165,000
    at = rater.reckon(call(SONNET_45, input=200_000, output=10))
    assert (at.cost_nano_usd, at.step) == (660_165_000, False)
    # 200,001 x 6,600 + 10 x 24,750 = 1,320,006,600 + 247,500
    above = rater.reckon(call(SONNET_45, input=200_001, output=10))
    assert (above.cost_nano_usd, above.step) == (1_320_254_100, True)


def test_the_context_is_input_and_both_cache_counts_and_not_the_output(rater: Rater) -> None:
    # 1 x 6,600 + 150,000 x 660 + 50,000 x 8,250 = 6,600 + 99,000,000 + 412,500,000
    above = call(SONNET_45, input=1, cache_read=150_000, cache_write=50_000, cache_write_1h=0)
    assert rater.rate(above).cost_nano_usd == 511_506_600
    # 199,999 x 330 + 100,000 x 16,500 = 65,999,670 + 1,650,000,000: a long answer is no large context
    below = call(SONNET_45, input=0, cache_read=199_999, output=100_000)
    assert rater.rate(below).cost_nano_usd == 1_715_999_670


def test_a_step_of_another_size_and_its_hour_writes(rater: Rater) -> None:
    haiku = "global.anthropic.claude-haiku-5-5"
    # 100,000 x 100 = 10,000,000; 100,001 x 500 = 50,000,500; 100,001 hour writes x 1,000
    assert rater.rate(call(haiku, input=100_000)).cost_nano_usd == 10_000_000
    assert rater.rate(call(haiku, input=100_001)).cost_nano_usd == 50_000_500
    assert rater.rate(call(haiku, cache_write=100_001, cache_write_1h=100_001)).cost_nano_usd == 100_001_000


def test_a_tier_without_prices_for_a_large_context_is_unpriced_there(rater: Rater) -> None:
    assert rater.rate(call(SONNET_45, input=200_000, batch=True)).cost_nano_usd == 200_000 * 1_650
    assert rater.rate(call(SONNET_45, input=200_001, batch=True)).cost_nano_usd is None


# --- images, embeddings, requests


def test_images_are_priced_by_the_piece(rater: Rater) -> None:
    rated = rater.rate(call(CANVAS, images=2))  # 2 x 0.06 USD
    assert (rated.cost_nano_usd, rated.assumptions) == (120_000_000, ("image-list-price",))
    ultra = rater.rate(call("stability.stable-image-ultra-v1:1", images=3))  # 3 x 0.14 USD
    assert (ultra.cost_nano_usd, ultra.assumptions) == (420_000_000, ())
    assert rater.rate(call(CANVAS, images=0)).cost_nano_usd == 0


def test_an_unknown_number_of_images_is_unpriced_and_not_free(rater: Rater) -> None:
    rated = rater.rate(call(CANVAS))
    assert (rated.cost_nano_usd, rated.assumptions) == (None, ("image-list-price", "images-unknown"))


def test_embeddings_are_priced_by_their_input(rater: Rater) -> None:
    # 12,345 x 20 nano-USD
    assert rater.rate(call("amazon.titan-embed-text-v2:0", input=12_345)).cost_nano_usd == 246_900
    assert rater.rate(call("cohere.embed-english-v3", input=7)).cost_nano_usd == 700


def test_embeddings_of_images_say_what_is_missing(rater: Rater) -> None:
    titan = "amazon.titan-embed-image-v1"
    text = rater.rate(call(titan, input=10))
    assert (text.cost_nano_usd, text.assumptions) == (8_000, ("input-media-not-counted",))
    image = rater.rate(call(titan))
    assert image.cost_nano_usd is None
    assert "input-media-unknown" in image.assumptions


def test_what_is_billed_per_request_counts_as_one(rater: Rater) -> None:
    rated = rater.rate(call("amazon.rerank-v1:0"))  # 0.001 USD
    assert (rated.cost_nano_usd, rated.assumptions) == (1_000_000, ("one-request",))


# --- unknown is never zero


@pytest.mark.parametrize(
    "model",
    [
        "-",
        "",
        "anthropic.claude-from-next-year",
        "a1c3m5e7k9q2",
        "us.",
        "global",
        f"xx.{SONNET}",
        f"arn:aws:bedrock:us-east-1:111122223333:provisioned-model/{SONNET}",
        f"arn:aws:bedrock:us-east-1:111122223333:imported-model/{SONNET}",
        "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1c3m5e7k9q2",
    ],
)
def test_a_model_without_a_card_is_unpriced_even_without_tokens(rater: Rater, model: str) -> None:
    assert rater.rate(call(model)).cost_nano_usd is None
    assert rater.rate(call(model, input=1_000)).cost_nano_usd is None


def test_a_call_without_tokens_of_a_priced_model_costs_nothing(rater: Rater) -> None:
    rated = rater.rate(call())
    assert (rated.cost_nano_usd, rated.assumptions) == (0, ())


# --- rounding, time, versions


def small_book(*cards: Card) -> Book:
    return Book(1, "test", Source("", "", "", "", ""), {"x.y": {"list": list(cards)}})


@pytest.mark.parametrize(
    ("price", "tokens", "cost"),
    [
        (8_750_000, 1, 9),  # 8.75 nano-USD
        (8_750_000, 2, 18),  # 17.5: half goes up
        (8_750_000, 4, 35),
        (499_999, 1, 0),  # 0.499999
        (500_000, 1, 1),
        (1, 10**6, 1),
        (1, 499_999, 0),
    ],
)
def test_a_call_is_rounded_once_half_up(price: int, tokens: int, cost: int) -> None:
    book = small_book(Card({"default": {"input": price}}))
    assert Rater(book).rate(call("x.y", input=tokens)).cost_nano_usd == cost


def test_the_lines_are_not_rounded_by_themselves() -> None:
    book = small_book(Card({"default": {"input": 400_000, "output": 400_000, "cache_read": 400_000}}))
    # 0.4 + 0.4 + 0.4 = 1.2; each by itself would be 0
    assert Rater(book).rate(call("x.y", input=1, output=1, cache_read=1)).cost_nano_usd == 1


def test_new_prices_hold_from_their_first_millisecond_on() -> None:
    book = small_book(Card({"default": {"input": 1_000_000}}), Card({"default": {"input": 2_000_000}}, from_ms=DAY))
    rater = Rater(book)
    costs = [rater.rate(call("x.y", input=1, event_ms=DAY + shift)).cost_nano_usd for shift in (-1, 0, 1)]
    assert costs == [1, 2, 2]


def test_before_the_first_card_there_is_no_price() -> None:
    rater = Rater(small_book(Card({"default": {"input": 1_000_000}}, from_ms=DAY)))
    assert rater.rate(call("x.y", input=1, event_ms=DAY - 1)).cost_nano_usd is None


def test_the_version_names_the_book_and_the_overrides() -> None:
    book = load_book()
    assert Rater(book).rate(call()).price_version == book.version
    rows = (Override(0, percent_e6=0),)
    assert Rater(book, OverrideSet(3, rows)).rate(call()).price_version == f"{book.version}+3"


def test_assumptions_come_in_one_order(rater: Rater) -> None:
    found = rater.rate(call("moonshotai.kimi-k3", region="sa-east-1", cache_write=1)).assumptions
    assert found == ("tier-default", "cache-write-5m", "region-list-price")
    assert list(found) == sorted(found, key=ASSUMPTIONS.index)
