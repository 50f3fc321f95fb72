"""Whose usage a record is: a cached view of the Tenants table, asked at most once a delivery.

An answer is used for a bounded time only: a known one for a minute, an unknown one for five seconds, and none for an
event that lies more than a minute after it was read, whenever that is delivered. A profile or a principal that changes
hands is therefore re-mapped from more than a minute ahead (``tenants/ownership.py``), so that no cached answer can be
wrong about it. The number of remembered answers is bounded too: identifiers and session names are chosen by callers.

What the stack trusts beside profiles (``tenants/trust.py``) decides what else is worth asking for. Where it is too old
it is read along with what the old one makes worth asking, and no delivery is decided before it is there: if it says
something else, what that makes worth asking is asked as well.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from bedrock_meter.invocations.identifiers import profile_candidate
from bedrock_meter.invocations.record import Invocation
from bedrock_meter.tenants.attribution import Attribution, Evidence, MappingPeriod, decide
from bedrock_meter.tenants.lookup import LiveLookup
from bedrock_meter.tenants.principals import is_pattern, matching, names_of
from bedrock_meter.tenants.tenant import is_tenant_id
from bedrock_meter.tenants.trust import NO_TRUST, Trust

KNOWN_FOR_MS = 60_000
UNKNOWN_FOR_MS = 5_000
CAPACITY = 10_000


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be read.

    Attributes:
        profiles: Profiles whose mapping is wanted.
        principals: Canonical principals, no patterns, whose mapping is wanted.
        tenants: Tenants of which is to be known whether they are registered.
        trust: Whether what the stack trusts is wanted.
    """

    profiles: Collection[str] = ()
    principals: Collection[str] = ()
    tenants: Collection[str] = ()
    trust: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found; whatever is missing in it is not there.

    Attributes:
        profiles: Periods by profile.
        principals: Periods by principal.
        tenants: Registered tenants.
        trust: What the stack trusts, if that was asked.
    """

    profiles: Mapping[str, Sequence[MappingPeriod]] = field(default_factory=dict)
    principals: Mapping[str, Sequence[MappingPeriod]] = field(default_factory=dict)
    tenants: Collection[str] = ()
    trust: Trust | None = None


class DirectoryStore(Protocol):
    """Where mappings are kept."""

    def ask(self, question: Question) -> Answer:
        """Read all of it at once, consistently."""


@dataclass(frozen=True, slots=True)
class _Caller:
    """What the stack's trust makes of a principal.

    Attributes:
        fits: Its names and the patterns that fit, what says most first.
        is_gateway: Whether its metadata is believed.
    """

    fits: tuple[str, ...]
    is_gateway: bool


_NOBODY = _Caller((), False)
_Kind = Literal["profile", "principal", "tenant"]
_Answers = dict[tuple[_Kind, str], tuple[int, Sequence[MappingPeriod]]]
"""When it was read, and what was found."""


@dataclass(frozen=True, slots=True)
class _Moment:
    """When a delivery is decided, and the latest event time in it."""

    now_ms: int
    horizon_ms: int

    def allows(self, read_ms: int, known_for_ms: int, ahead_ms: int) -> bool:
        """Whether what was read then decides: it is young enough, and no event lies too far ahead of it."""
        is_young = 0 <= self.now_ms - read_ms < known_for_ms and self.horizon_ms - read_ms < ahead_ms
        return is_young or read_ms == self.now_ms


class CachedDirectory:
    """Attributes invocations, asking the store at most once a batch, and once more where another trust is found."""

    def __init__(
        self,
        store: DirectoryStore,
        *,
        lookup: LiveLookup | None = None,
        known_for_ms: int = KNOWN_FOR_MS,
        unknown_for_ms: int = UNKNOWN_FOR_MS,
        capacity: int = CAPACITY,
    ) -> None:
        """Set up.

        Args:
            store: The Tenants table.
            lookup: Asks Bedrock for profiles without a mapping; None asks nobody.
            known_for_ms: How long an answer is used.
            unknown_for_ms: How long nobody's profile, principal or tenant stays one.
            capacity: Answers that are remembered. The older half of them goes when it is reached, never one that the
                delivery at hand still needs.
        """
        self._store = store
        self._lookup = lookup
        self._known_for_ms = known_for_ms
        self._unknown_for_ms = unknown_for_ms
        self._capacity = capacity
        self._answers: _Answers = {}
        self._older: _Answers = {}
        self._trust = NO_TRUST
        self._trust_read_ms: int | None = None
        self._callers: dict[str, _Caller] = {}

    def attribute(self, invocations: Sequence[Invocation], now_ms: int) -> list[Attribution]:
        """Return the attribution of each invocation at its event time, in their order."""
        if not invocations:
            return []
        model_ids, principals = {one.model_id for one in invocations}, {one.principal for one in invocations}
        moment = _Moment(now_ms, max(now_ms, *(one.event_ms for one in invocations)))
        claimed = [self._claimed_tenant(one) for one in invocations]
        while self._learn(model_ids, principals, {tenant for tenant in claimed if tenant}, moment):
            claimed = [self._claimed_tenant(one) for one in invocations]
        self._look_up(invocations, now_ms)
        return [
            decide(one, self._evidence(one, tenant, now_ms)) for one, tenant in zip(invocations, claimed, strict=True)
        ]

    def evidence(self, model_id: str, principal: str, now_ms: int, event_ms: int) -> Evidence:
        """Return what is known of a profile or model and of a principal for an event time; for recorded usage."""
        while self._learn({model_id}, {principal}, set(), _Moment(now_ms, max(now_ms, event_ms))):
            pass
        return Evidence(self._profile(model_id, now_ms), self._principals(principal, now_ms))

    def _caller(self, principal: str) -> _Caller:
        trust = self._trust
        if not (trust.gateways or trust.patterns or trust.names_principals):
            return _NOBODY
        known = self._callers.get(principal)
        if known is None:
            names = names_of(principal)
            gateways = matching(names, (one for one in trust.gateways if is_pattern(one)))
            known = _Caller(tuple(matching(names, trust.patterns)), not set(gateways).isdisjoint(trust.gateways))
            if len(self._callers) >= self._capacity:
                self._callers.clear()
            self._callers[principal] = known
        return known

    def _claimed_tenant(self, invocation: Invocation) -> str | None:
        """Return the tenant that a listed gateway says it calls for, registered or not."""
        if not invocation.metadata or not self._caller(invocation.principal).is_gateway:
            return None
        claimed = dict(invocation.metadata).get(self._trust.metadata_key)
        return claimed if claimed is not None and is_tenant_id(claimed) else None

    def _learn(self, model_ids: set[str], principals: set[str], tenants: set[str], moment: _Moment) -> bool:
        """Ask for what is not remembered: one read, or none.

        Returns:
            Whether it brought another trust, so that more may be worth asking. That trust is as old as this moment:
            the next time says no.
        """
        names: Iterable[str] = ()
        if self._trust.names_principals:
            fits = (one for principal in principals for one in self._caller(principal).fits)
            names = (one for one in fits if not is_pattern(one))
        question = Question(
            self._missing("profile", (one for one in map(profile_candidate, model_ids) if one), moment),
            self._missing("principal", names, moment),
            self._missing("tenant", tenants, moment),
            self._trust_read_ms is None
            or not moment.allows(self._trust_read_ms, self._known_for_ms, self._known_for_ms),
        )
        if not (question.profiles or question.principals or question.tenants or question.trust):
            return False
        answer = self._store.ask(question)
        asked = len(question.profiles) + len(question.principals) + len(question.tenants)
        if len(self._answers) + asked > self._capacity // 2:
            self._older, self._answers = self._answers, {}
        now_ms = moment.now_ms
        for profile in question.profiles:
            self._remember("profile", profile, answer.profiles.get(profile, ()), now_ms)
        for principal in question.principals:
            self._remember("principal", principal, answer.principals.get(principal, ()), now_ms)
        for tenant in question.tenants:
            self._remember("tenant", tenant, (MappingPeriod(tenant),) if tenant in answer.tenants else (), now_ms)
        if not question.trust:
            return False
        believed, self._trust, self._trust_read_ms = self._trust, answer.trust or NO_TRUST, now_ms
        if self._trust == believed:
            return False
        self._callers.clear()
        return True

    def _missing(self, kind: _Kind, names: Iterable[str], moment: _Moment) -> list[str]:
        return sorted({name for name in names if self._answer(kind, name, moment) is None})

    def _remember(self, kind: _Kind, name: str, periods: Sequence[MappingPeriod], now_ms: int) -> None:
        self._answers[kind, name] = (now_ms, periods)

    def _answer(self, kind: _Kind, name: str, moment: _Moment) -> Sequence[MappingPeriod] | None:
        key = kind, name
        found = self._answers.get(key) or self._older.get(key)
        if found is None:
            return None
        read_ms, periods = found
        known_for_ms = self._known_for_ms if periods else self._unknown_for_ms
        return periods if moment.allows(read_ms, known_for_ms, self._known_for_ms) else None

    def _held(self, kind: _Kind, name: str, now_ms: int) -> Sequence[MappingPeriod]:
        return self._answer(kind, name, _Moment(now_ms, now_ms)) or ()

    def _look_up(self, invocations: Sequence[Invocation], now_ms: int) -> None:
        if self._lookup is None:
            return
        succeeded = [one for one in invocations if one.error_code is None]
        candidates = {one for one in map(profile_candidate, (each.model_id for each in succeeded)) if one}
        unknown = {one for one in candidates if not self._held("profile", one, now_ms)}
        for profile, periods in self._lookup.find(succeeded, unknown).items():
            self._remember("profile", profile, periods, now_ms)

    def _evidence(self, invocation: Invocation, claimed: str | None, now_ms: int) -> Evidence:
        is_registered = claimed is not None and bool(self._held("tenant", claimed, now_ms))
        return Evidence(
            self._profile(invocation.model_id, now_ms),
            self._principals(invocation.principal, now_ms),
            claimed if is_registered else None,
        )

    def _profile(self, model_id: str, now_ms: int) -> Sequence[MappingPeriod]:
        candidate = profile_candidate(model_id)
        return self._held("profile", candidate, now_ms) if candidate else ()

    def _principals(self, principal: str, now_ms: int) -> Sequence[Sequence[MappingPeriod]]:
        return [
            self._trust.patterns[one] if is_pattern(one) else self._held("principal", one, now_ms)
            for one in self._caller(principal).fits
        ]
