"""What is true in the world of ``honest.py``: profiles, prices, what a name means, what a call adds to a meter.

Written from the contract and with none of our code: `docs/api.md` says which profile a name leads to, the AWS user
guide says what counts how. Prices are invented, and depend on all that prices can depend on.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

SONNET = "anthropic.claude-sonnet-4-6"
NOVA = "amazon.nova-pro-v1:0"
EMBED = "amazon.titan-embed-text-v2:0"
CANVAS = "amazon.nova-canvas-v1:0"
UNKNOWN = "-"

REGION, ACCOUNT = "us-east-1", "123456789012"
STEP = 20_000
"""A context above this is dearer, as with models of large contexts."""

GEOGRAPHIES = ("us", "eu", "apac", "jp")
OUTPUT_RATES = {SONNET: 5}
_KIND_PRICES = {
    SONNET: {"input": 30, "output": 150, "cache_read": 3, "cache_write": 37, "hour": 60},
    NOVA: {"input": 8, "output": 32, "cache_read": 2, "cache_write": 0, "hour": 0},
    EMBED: {"input": 2, "output": 9_999, "cache_read": 0, "cache_write": 0, "hour": 0},
    CANVAS: {"input": 0, "output": 0, "cache_read": 0, "cache_write": 0, "hour": 0, "image": 40_000},
}
_ROUTINGS = {"in-region": 11, "geo": 12, "global": 10}
_TIERS = {"default": 10, "flex": 5, "priority": 18}


@dataclass(frozen=True)
class Profile:
    """An application inference profile of the tenant.

    Attributes:
        id: Last segment of its ARN.
        model: Base model; ``-`` where the directory does not know it.
        routing: How it reaches the model; None where the directory does not know it.
        geography: Of geo routing.
        factor: What the operator charges instead of the list, in percent.
        region: Where it can be called.
    """

    id: str
    model: str
    routing: str | None
    geography: str | None = None
    factor: int = 100
    region: str = REGION

    @property
    def arn(self) -> str:
        """Its ARN."""
        return f"arn:aws:bedrock:{self.region}:{ACCOUNT}:application-inference-profile/{self.id}"


PROFILES = (
    Profile("sonnetregion", SONNET, "in-region", factor=170),
    Profile("sonnetgeous0", SONNET, "geo", "us"),
    Profile("sonnetgeoeu0", SONNET, "geo", "eu", region="eu-west-1"),
    Profile("sonnetglobal", SONNET, "global"),
    Profile("novaregion00", NOVA, "in-region", factor=300),
    Profile("novageous000", NOVA, "geo", "us"),
    Profile("embedregion0", EMBED, "in-region"),
    Profile("canvasregion", CANVAS, "in-region"),
    Profile("unnamed00000", UNKNOWN, None),
)
FOREIGN = Profile("foreign00000", SONNET, "in-region")


class Used(NamedTuple):
    """What a call really used; tokens are disjoint, ``hour`` of the cache writes live for an hour."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    hour: int = 0
    images: int = 0
    tier: str = "default"

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.input + self.output + self.cache_read + self.cache_write


def price(model: str, routing: str, profile: str, used: Used) -> int | None:
    """Return what a call costs; None where the model has no price."""
    prices = _KIND_PRICES.get(model)
    if prices is None:
        return None
    factor = next((one.factor for one in PROFILES if one.id == profile), 100)
    context = used.input + used.cache_read + used.cache_write
    step = 2 if context > STEP else 1
    amount = (
        used.input * prices["input"]
        + used.output * prices["output"]
        + used.cache_read * prices["cache_read"]
        + (used.cache_write - used.hour) * prices["cache_write"]
        + used.hour * prices["hour"]
    ) * step + used.images * prices.get("image", 0)
    return amount * _ROUTINGS[routing] * _TIERS[used.tier] * factor // 10_000


def base_of(identifier: str) -> tuple[str, str]:
    """Return (base model, prefix) of a model's id."""
    prefix, _, rest = identifier.partition(".")
    return (rest, prefix) if prefix in (*GEOGRAPHIES, "global") else (identifier, "")


def leads_to(name: str, owned: list[Profile], region: str) -> Profile | None:
    """Return the profile that a call goes through which names a model, or None: the table of `docs/api.md`."""
    segment = name.rpartition("/")[2]
    model, prefix = base_of(segment)
    fitting = [one for one in owned if one.model == model and one.region == region]
    if prefix == "global":
        fitting = [one for one in fitting if one.routing == "global"]
    elif prefix:
        fitting = [one for one in fitting if one.routing == "geo" and one.geography == prefix]
    else:
        fitting = [one for one in fitting if one.routing == "in-region"] or fitting
    return fitting[0] if len(fitting) == 1 else None


def counts(meter: str, scope: tuple[tuple[str, ...], tuple[str, ...]], profile: Profile, used: Used) -> int:
    """Return what a call adds to a limit, as far as it is known."""
    models, profiles = scope
    if profiles and profile.id not in profiles:
        return 0
    if models and not any(fnmatchcase(profile.model, one) for one in models):
        return 0
    match meter:
        case "requests":
            return 1
        case "total_tokens":
            return used.tokens
        case "input_tokens":
            return used.input
        case "output_tokens":
            return used.output
        case "cache_read_tokens":
            return used.cache_read
        case "cache_write_tokens":
            return used.cache_write
        case "weighted_tokens":
            return used.input + used.cache_write + used.output * OUTPUT_RATES.get(profile.model, 1)
        case "cost_usd":
            return price(profile.model, profile.routing or "in-region", profile.id, used) or 0
    raise ValueError(meter)
