"""Who pays for a call: the one place that decides it.

Trust order: the application inference profile named by the record (only its owner's role may invoke it). Everything
else that a record carries is chosen by the caller, so that a record without a known profile is ``unattributed``:
counted, announced, and waiting for its tenant in an index of the ledger.
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
RULE_NONE = "none"
UNKNOWN_MODEL = "-"

BY_PERSON = "person"
BY_TAG = "tag"
"""Who made a period of ownership: a person through the command, or ``sync_profiles`` from a tag in Bedrock."""


@dataclass(frozen=True, slots=True)
class MappingPeriod:
    """A profile belongs to a tenant during [from_ms, to_ms).

    Attributes:
        tenant: Owner.
        from_ms: First instant; 0 = always had it.
        to_ms: First instant that no longer belongs to it; None = open.
        model: Base model that the profile stands for (the record does not say), or ``-``.
        routing: ``in-region``, ``geo``, ``global`` or None where not known yet.
        by: Who made the period, ``person`` or ``tag`` (``tenants/ownership.py``); decides nothing about attribution.
    """

    tenant: str
    from_ms: int = 0
    to_ms: int | None = None
    model: str = UNKNOWN_MODEL
    routing: str | None = None
    by: str = BY_PERSON

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
    """

    tenant: str
    rule: str
    profile: str
    model: str
    routing: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether a tenant was found."""
        return self.tenant != UNATTRIBUTED


def attribute(invocation: "Invocation", mappings: Mapping[str, Sequence[MappingPeriod]]) -> Attribution:
    """Attribute one invocation at its event time.

    Args:
        invocation: The record.
        mappings: What the directory knows of the profiles in question; a missing key means "not a known profile".
    """
    segment = last_segment(invocation.model_id)
    candidate = profile_candidate(invocation.model_id)
    for period in mappings.get(candidate, ()) if candidate else ():
        if period.covers(invocation.event_ms):
            return Attribution(period.tenant, RULE_PROFILE, segment, period.model, period.routing)
    names_a_model = candidate is None or "." in segment
    return Attribution(UNATTRIBUTED, RULE_NONE, segment, segment if names_a_model else UNKNOWN_MODEL)
