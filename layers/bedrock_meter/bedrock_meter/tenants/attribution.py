"""Who pays for a call: the one place that decides it.

Trust order, the first that knows a tenant decides:

1. ``profile``: the application inference profile that the record names. IAM can force a tenant's calls through it.
2. ``principal``: the IAM identity that made the call. AWS writes it, but whoever may assume a role chooses the session.
3. ``metadata``: the request's metadata, only where the identity is a gateway that the stack lists. Its value is chosen
   by the caller, so from anybody else it decides nothing.
4. ``none``: the usage is ``unattributed``: counted, announced, and waiting for its tenant in an index of the ledger.

Where a lower source names another tenant the higher one wins, and the attribution says that it was contradicted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bedrock_meter.invocations.identifiers import last_segment, profile_candidate

if TYPE_CHECKING:
    from bedrock_meter.invocations.record import Invocation

UNATTRIBUTED = "unattributed"
"""Stands where a tenant would: usage that has none yet. No tenant can have this id."""

RULE_PROFILE = "profile"
RULE_PRINCIPAL = "principal"
RULE_METADATA = "metadata"
RULE_NONE = "none"
UNKNOWN_MODEL = "-"

BY_PERSON = "person"
BY_TAG = "tag"
"""Who made a period of ownership: a person through the command, or ``sync_profiles`` from a tag in Bedrock."""


@dataclass(frozen=True, slots=True)
class MappingPeriod:
    """A profile or a principal belongs to a tenant during [from_ms, to_ms).

    Attributes:
        tenant: Owner.
        from_ms: First instant; 0 = always had it.
        to_ms: First instant that no longer belongs to it; None = open.
        model: Base model that the profile stands for (the record does not say), or ``-``. Always ``-`` for a principal.
        routing: ``in-region``, ``geo``, ``global`` or None where not known yet.
        by: Who made the period, ``person`` or ``tag`` (``tenants/ownership.py``); decides nothing about attribution.
        geography: Where calls of geo routing stay: ``eu``, ``us``, ``apac`` ...; None where that is not known.
    """

    tenant: str
    from_ms: int = 0
    to_ms: int | None = None
    model: str = UNKNOWN_MODEL
    routing: str | None = None
    by: str = BY_PERSON
    geography: str | None = None

    def covers(self, event_ms: int) -> bool:
        """Whether the period holds at ``event_ms``."""
        return self.from_ms <= event_ms and (self.to_ms is None or event_ms < self.to_ms)


@dataclass(frozen=True, slots=True)
class Attribution:
    """The decision, and the rule that made it.

    Attributes:
        tenant: Who is counted, or ``unattributed``.
        rule: Which rule decided.
        profile: Last segment of the record's model identifier.
        model: Base model where the mapping or the record names it, else ``-``.
        routing: ``in-region``, ``geo`` or ``global`` where the mapping says so.
        contradiction: ``profile acme, principal globex`` where a lower source names another tenant. Rules and tenants
            only; none of it is text of a caller.
    """

    tenant: str
    rule: str
    profile: str
    model: str
    routing: str | None = None
    contradiction: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about the sources of one record, in the order in which they are believed.

    Attributes:
        profile: Periods of the profile that it may name.
        principals: Periods of each mapped name of its principal, what says most first.
        metadata: The registered tenant that a listed gateway names, or None.
    """

    profile: Sequence[MappingPeriod] = ()
    principals: Sequence[Sequence[MappingPeriod]] = ()
    metadata: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What one source says.

    Attributes:
        rule: Which source.
        tenant: Whose call it says it is.
        model: Base model, where the source knows it; else ``-``.
        routing: ``in-region``, ``geo`` or ``global``, where the source knows it.
    """

    rule: str
    tenant: str
    model: str = UNKNOWN_MODEL
    routing: str | None = None


def attribute(invocation: "Invocation", mappings: Mapping[str, Sequence[MappingPeriod]]) -> Attribution:
    """Attribute one invocation at its event time by its profile alone.

    Args:
        invocation: The record.
        mappings: What the directory knows of the profiles in question; a missing key means "not a known profile".
    """
    candidate = profile_candidate(invocation.model_id)
    return decide(invocation, Evidence(profile=mappings.get(candidate, ()) if candidate else ()))


def decide(invocation: "Invocation", evidence: Evidence) -> Attribution:
    """Attribute one invocation at its event time. Pure: the same record and evidence give the same answer."""
    segment = last_segment(invocation.model_id)
    names_a_model = profile_candidate(invocation.model_id) is None or "." in segment
    model = segment if names_a_model else UNKNOWN_MODEL
    claims = claims_at(invocation.event_ms, evidence)
    if not claims:
        return Attribution(UNATTRIBUTED, RULE_NONE, segment, model)
    first = claims[0]
    other = next((claim for claim in claims if claim.tenant != first.tenant), None)
    contradiction = None if other is None else f"{first.rule} {first.tenant}, {other.rule} {other.tenant}"
    if first.rule == RULE_PROFILE:
        model = first.model
    return Attribution(first.tenant, first.rule, segment, model, first.routing, contradiction)


def claims_at(event_ms: int, evidence: Evidence) -> list[Claim]:
    """Return what each source says at an instant, at most one claim a source, the most trusted first."""
    claims: list[Claim] = []
    owned = next((period for period in evidence.profile if period.covers(event_ms)), None)
    if owned is not None:
        claims.append(Claim(RULE_PROFILE, owned.tenant, owned.model, owned.routing))
    periods = (period for periods in evidence.principals for period in periods if period.covers(event_ms))
    caller = next(periods, None)
    if caller is not None:
        claims.append(Claim(RULE_PRINCIPAL, caller.tenant))
    if evidence.metadata is not None:
        claims.append(Claim(RULE_METADATA, evidence.metadata))
    return claims
