"""What is asked of the quota API, and what is answered, in words that name no protocol.

Amounts are upper bounds before a call and counts after it. An answer is a value, either a reservation or a denial,
because being denied is no failure; only what decides nothing is raised.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from bedrock_meter.client.errors import amount
from bedrock_meter.invocations.identifiers import last_segment

Policy = Literal["open", "closed"]
"""What to do with a call that no answer was given for: let it go on, or not."""

TIERS = frozenset({"default", "flex", "priority", "reserved"})
"""Service tiers that the quota API prices."""

_APPLICATION_PROFILE = "application-inference-profile"
_NAMED_BY_LAST_SEGMENT = frozenset({"foundation-model", "inference-profile"})


@dataclass(frozen=True, slots=True)
class Amounts:
    """An amount of each kind; the token kinds are disjoint.

    Attributes:
        requests: Calls.
        input_tokens: Without both cache kinds.
        output_tokens: Written by the model.
        cache_read_tokens: Read from a prompt cache.
        cache_write_tokens: Written to a prompt cache.
        cost_nano_usd: Cost, where the caller knows better than the price book; 0 lets the meter price the tokens.
        images: Pictures that the model makes.
        may_cache: Whether ``input_tokens`` may turn out to be of any of the three kinds that are read. They bound each
            kind then, and a cost limit takes the dearest.
        unsaid: Counts of what was used that an answer does not have, by name. They are 0 here, and are not told: what
            is held of them stays held.
    """

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_nano_usd: int = 0
    images: int = field(default=0, kw_only=True)
    may_cache: bool = field(default=False, kw_only=True)
    unsaid: frozenset[str] = field(default=frozenset(), kw_only=True)

    def __post_init__(self) -> None:
        tokens = (self.input_tokens, self.output_tokens, self.cache_read_tokens, self.cache_write_tokens)
        if min(self.requests, self.cost_nano_usd, self.images, *tokens) < 0:
            raise ValueError(f"amounts are not negative: {self}")

    @property
    def read_tokens(self) -> int:
        """Everything that the model reads, with or without a cache."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    def estimate(self) -> dict[str, int]:
        """Return upper bounds by kind, and ``may_cache``; what is 0 or false is left out."""
        return {
            name: value for name in (*_COUNTS, "images", "cost_nano_usd", "may_cache") if (value := getattr(self, name))
        }

    def usage(self) -> dict[str, int]:
        """Return what was used, zeros included, but for ``unsaid``: of a kind that is not named, everything stays held.

        Pictures are not named: no answer counts them, so that they stay held until the log's record settles them.
        """
        return {name: getattr(self, name) for name in _COUNTS if name not in self.unsaid}


_COUNTS = ("requests", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")


class Subject(NamedTuple):
    """Whose call of what. An answer is remembered, and a lease draws, for exactly the same subject.

    Attributes:
        tenant: Whose call.
        model: What the quota API is asked about as a model; None where a profile or nothing was named.
        profile: What it is asked about as a profile; None where a model or nothing was named.
        region: Region of the caller's client; None where it is not known.
        resource: The whole ARN where its own Region is not that of the client, else empty: such a call is another one.
    """

    tenant: str
    model: str | None = None
    profile: str | None = None
    region: str | None = None
    resource: str = ""

    @property
    def names_something(self) -> bool:
        """Whether the call named a model or a profile at all."""
        return self.model is not None or self.profile is not None


def subject_of(tenant: str, model_id: str | None, region: str | None = None) -> Subject:
    """Return what a call is about.

    An application inference profile's ARN is a profile, and so is an id without a dot, since the id of a model or of a
    system-defined profile has one in it. The ARN stays whole: its account and Region are compared by the quota API. The
    ARN of a base model or of a system-defined profile is asked about by its last segment, any other ARN as a whole.

    Args:
        tenant: Whose call.
        model_id: What the caller wants to use, in any of Bedrock's forms; None if it named nothing.
        region: Region of the caller's client; an ARN's own where none is given.
    """
    if model_id is None:
        return Subject(tenant, region=region)
    if not model_id.startswith("arn:"):
        return Subject(tenant, model_id, None, region) if "." in model_id else Subject(tenant, None, model_id, region)
    parts = model_id.split(":", 5)
    own = parts[3] if len(parts) == 6 else ""
    region = region or own or None
    resource = model_id if own and own != region else ""
    kind = parts[-1].partition("/")[0]
    if kind == _APPLICATION_PROFILE:
        return Subject(tenant, None, model_id, region, resource)
    named = last_segment(model_id) if kind in _NAMED_BY_LAST_SEGMENT else model_id
    return Subject(tenant, named, None, region, resource)


@dataclass(frozen=True, slots=True)
class Profile:
    """An application inference profile of a tenant.

    Attributes:
        id: Last segment of the ARN.
        arn: The ARN where the meter knows it, else the id. Bedrock takes either.
    """

    id: str
    arn: str

    @property
    def region(self) -> str | None:
        """The Region that the ARN names; None where only the id is known."""
        return self.arn.split(":")[3] if self.arn.startswith("arn:") and self.arn.count(":") >= 5 else None


@dataclass(frozen=True, slots=True)
class ReservationRequest:
    """A question: may this be used?

    Attributes:
        key: Idempotency key: the same key and estimate lead to one reservation, however often they are sent.
        estimate: Upper bounds.
        model: Id of a base model or of a system-defined profile, or an ARN that is neither's; None if ``profile`` says
            what is called.
        profile: ARN or id of the application inference profile that the caller already chose.
        ttl_seconds: For how long the amounts are held unless they are settled, 10 to 3600.
        kind: ``call``, or ``lease`` for a block that many calls draw from and that log records do not settle.
        region: Region of the client that makes the call.
        tier: Service tier that the call asks for, one of ``TIERS``; None where it asks for none.
    """

    key: str
    estimate: Amounts
    model: str | None = None
    profile: str | None = None
    ttl_seconds: int = 300
    kind: Literal["call", "lease"] = "call"
    region: str | None = None
    tier: str | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """An answer: yes, and the amounts are held.

    Attributes:
        id: None where the meter's storage was down and the tenant's policy lets calls go on: nothing is held then.
        profile: The tenant's own profile that the call goes through; None if it has none for it.
        metadata: What has to travel in the call's request metadata.
        degraded: Whether no decision stands behind it.
        fail: The tenant's effective policy: ``closed`` where a strict limit can deny; None where it was not said.
        available_profiles: The tenant's profiles, where none of them fits: ``id``, ``arn``, ``model``, ``routing``,
            ``geography`` and ``region`` of each.
    """

    id: str | None
    profile: Profile | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    degraded: bool = False
    fail: Policy | None = None
    available_profiles: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Denial:
    """An answer: no.

    Attributes:
        document: The answer: ``limit``, ``requested``, ``retry_after_seconds``, ``throttled_until``, ``fail``.
        retry_after: Whole seconds; None where waiting does not help.
    """

    document: Mapping[str, Any]
    retry_after: int | None

    @property
    def fail(self) -> Policy | None:
        """The tenant's effective policy; None where it was not said."""
        return policy_of(self.document)

    @property
    def holds_for_everyone(self) -> bool:
        """Whether any call would be denied until then: used up by what is recorded, unpriced usage, or suspended.

        A denial because of the call's size, or of reservations that may be released at once, says nothing about the
        next call.
        """
        limit = self.document.get("limit")
        if not limit or "unpriced" in (limit.get("denied_because") or ()):
            return True
        used, maximum = amount(limit.get("used")), amount(limit.get("max"))
        return used is not None and maximum is not None and used >= maximum


class Transport(Protocol):
    """The way to the quota API. Used by many threads at once; each method may be repeated.

    Every method raises ``QuotaUnavailable`` if no answer came, ``QuotaBusy`` if it was asked too fast, and
    ``QuotaRefused`` if the question is wrong.
    """

    def reserve(self, tenant: str, request: ReservationRequest) -> Reservation | Denial:
        """Ask for amounts before a call.

        Raises:
            ForeignProfile: The profile that the call names is another tenant's.
        """

    def shrink(self, tenant: str, reservation_id: str, usage: Amounts, extend_seconds: int | None = None) -> None:
        """Hold only what was used, never more than before; extend the hold if the log may come after its end."""

    def release(self, tenant: str, reservation_id: str) -> None:
        """Give everything back: the call did not happen. A reservation that is over already stays so."""

    def close(self) -> None:
        """Give up connections. It can be used again after that."""


def policy_of(document: Mapping[str, Any]) -> Policy | None:
    """Return the effective policy that an answer carries; None where it carries none that is known."""
    found = document.get("fail")
    return found if found in ("open", "closed") else None
