"""Whether a call may be made, and what becomes of what was held for it. Knows nothing of boto3.

The order: a lease answers from memory; then a remembered denial; then the quota API, unless it is out of order; and
where that gives no decision, the policy:

* **out of order** (no connection, no answer, a server error): the guard's ``fail``, but a tenant whose effective policy
  is known to be ``closed`` stays closed.
* **asked too fast**: ``QuotaBusy``, unless the tenant's effective policy is known to be ``open`` and so is the guard's
  ``fail``. A flood must not lift a strict limit, and a tenant that was not seen yet may have one.

A call that was admitted ends in one of three ways:

* it was **used**: what is held shrinks to what the answer said;
* it was **refused** before it ran: everything is released;
* it is not **known** whether it ran: everything stays held, until the log settles it or its time is over.

Ending never raises and never delays with retries: what it frees would be freed by the log, or by time.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol, TypeVar

from bedrock_meter.client.errors import (
    ForeignProfile,
    NoProfile,
    QuotaBusy,
    QuotaRefused,
    QuotaUnavailable,
    TenantThrottled,
)
from bedrock_meter.client.memory import Memory
from bedrock_meter.client.quota import (
    Amounts,
    Denial,
    Policy,
    Reservation,
    ReservationRequest,
    Subject,
    Transport,
    subject_of,
)
from bedrock_meter.errors import ConfigurationError

logger = logging.getLogger("bedrock_meter.client")

T = TypeVar("T")


class Admitted:
    """A call that may be made. Ended once, by ``used``, ``refused`` or ``unknown``; what comes later is ignored.

    As a context manager, for calls that go out without a guarded client: left without an error it stays as it is, left
    with one it is not known whether the call ran, so that it stays held too.

    Attributes:
        tenant: Whose call.
        reservation: Id of what is held; None where nothing is.
        profile: What to call the model through; None to use the identifier as it was given.
        metadata: What has to travel in the call's request metadata.
        degraded: Whether the call goes on without a decision. Whether its profile is the tenant's was then not decided
            either.
        leased: Whether it was admitted from memory.
    """

    def __init__(
        self,
        tenant: str,
        reservation: Reservation,
        *,
        leased: bool = False,
        used: Callable[[Amounts], None] | None = None,
        refused: Callable[[], None] | None = None,
    ) -> None:
        self.tenant = tenant
        self.reservation = reservation.id
        self.profile = reservation.profile
        self.metadata = reservation.metadata
        self.degraded = reservation.degraded
        self.leased = leased
        self._used = used
        self._refused = refused

    def used(self, amounts: Amounts) -> None:
        """Hold only what the call used."""
        used, self._used, self._refused = self._used, None, None
        if used is not None:
            used(amounts)

    def refused(self) -> None:
        """Give everything back: the model did not run."""
        refused, self._used, self._refused = self._refused, None, None
        if refused is not None:
            refused()

    def unknown(self) -> None:
        """Leave everything held: the log will say, or time."""
        self._used = self._refused = None

    def __enter__(self) -> "Admitted":
        return self

    def __exit__(self, *_: object) -> None:
        self.unknown()


class HeldBlock(Protocol):
    """A lease, seen from here."""

    def admit(self, estimate: Amounts, *, region: str | None = None, tier: str | None = None) -> Admitted | None:
        """Admit a call from memory, None if the block does not hold it."""

    def close(self) -> None:
        """Give back what is left."""


class Admission:
    """Asks, remembers, applies the policy. Safe to use from many threads.

    Args:
        transport: The way to the quota API.
        fail: What to do without a decision: ``open`` lets the call go on, ``closed`` raises ``QuotaUnavailable``.
        missing_profile: What to do where the tenant has no profile for what a call names: ``refuse`` or ``pass``.
        ttl_seconds: For how long a call's amounts are held unless they are settled.
        log_lag_seconds: How late a log record may be: what is held must outlive a call by this.
        memory: What is remembered.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        transport: Transport,
        memory: Memory,
        *,
        fail: Policy,
        missing_profile: Literal["refuse", "pass"],
        ttl_seconds: int,
        log_lag_seconds: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.transport = transport
        self.memory = memory
        self.fail = fail
        self.missing_profile = missing_profile
        self.ttl_seconds = ttl_seconds
        self.log_lag_seconds = log_lag_seconds
        self.clock = clock
        self._leases: dict[Subject, HeldBlock] = {}
        self.forget_parent()

    def forget_parent(self) -> None:
        """Make locks of its own in a forked child."""
        self._lock = threading.Lock()
        self.memory.forget_parent()

    def admit(
        self,
        tenant: str,
        model_id: str | None,
        estimate: Amounts,
        *,
        region: str | None = None,
        tier: str | None = None,
        leases: bool = True,
    ) -> Admitted:
        """Admit one call or raise.

        Args:
            tenant: Whose call.
            model_id: What the caller wants to use, in any of Bedrock's forms; None if it named nothing.
            estimate: Upper bounds.
            region: Region of the caller's client.
            tier: Service tier that the call asks for.
            leases: Whether a lease may answer.

        Raises:
            TenantThrottled: It may not be made now.
            NoProfile: It may, but not so that it would be counted for the tenant; nothing is held.
            ForeignProfile: It names another tenant's profile.
            QuotaBusy: The quota API was asked too fast, and a strict limit of the tenant may deny the call.
            QuotaUnavailable: There is no decision, and the policy is ``closed``.
            QuotaRefused: The question is wrong.
            ConfigurationError: The tenant is no text, or an empty one.
        """
        subject = subject_of(named_tenant(tenant), model_id, region)
        if leases and (admitted := self._leased(subject, estimate, tier)) is not None:
            return admitted
        key = uuid.uuid4().hex
        request = ReservationRequest(
            key, estimate, subject.model, subject.profile, self.ttl_seconds, region=subject.region, tier=tier
        )
        ends_at = self.clock() + self.ttl_seconds
        try:
            answer = self.ask(subject, request)
        except QuotaUnavailable as problem:
            return self._without_a_decision(subject, problem)
        if isinstance(answer, Denial):
            raise TenantThrottled(tenant, answer.document, answer.retry_after, remembered=False)
        if answer.degraded:
            answer = replace(answer, profile=answer.profile or self.memory.profile(subject))
            logger.warning(
                "the meter's storage is down: the call of tenant %s goes on without a decision, about its profile too",
                tenant,
            )
        else:
            self.check_profile(subject, answer)
        return Admitted(
            tenant,
            answer,
            used=lambda amounts: self.shrink(tenant, answer.id, amounts, self._extension(ends_at)),
            refused=lambda: self.release(tenant, answer.id),
        )

    def ask(self, subject: Subject, request: ReservationRequest) -> Reservation | Denial:
        """Ask for a reservation, unless the answer is remembered.

        Raises:
            TenantThrottled: A remembered denial still holds.
            ForeignProfile: The call names another tenant's profile.
            NoProfile: The question is refused because the call goes through no profile, so that it has no price.
            QuotaBusy: The quota API was asked too fast.
            QuotaUnavailable: It does not answer, or is out of order.
            QuotaRefused: The question is wrong.
        """
        remembered = self.memory.denial(subject)
        if remembered is not None:
            denial, left = remembered
            raise TenantThrottled(subject.tenant, denial.document, left, remembered=True)
        if not self.memory.outage.lets(subject.tenant):
            raise QuotaUnavailable("the quota API was out of order a moment ago: it is not asked again so soon")
        try:
            answer = self._asked(subject.tenant, lambda: self.transport.reserve(subject.tenant, request))
        except QuotaRefused as refused:
            if refused.available_profiles is not None and self.missing_profile == "refuse":
                raise _no_profile(subject, refused.available_profiles) from refused
            raise
        if isinstance(answer, Denial):
            self.memory.denied(subject, answer)
            self.memory.learned_policy(subject.tenant, answer.fail)
        elif not answer.degraded:
            self.memory.learned_policy(subject.tenant, answer.fail)
            if subject.names_something:
                self.memory.learned(subject, answer.profile)
        return answer

    def check_profile(self, subject: Subject, answer: Reservation) -> None:
        """Give back what is held for a call that no profile of the tenant's would attribute, unless that may pass.

        Raises:
            NoProfile: The tenant has no profile for what the call names.
        """
        if subject.names_something and answer.profile is None and self.missing_profile == "refuse":
            self.release(subject.tenant, answer.id)
            raise _no_profile(subject, answer.available_profiles)

    def shrink(
        self, tenant: str, reservation_id: str | None, usage: Amounts, extend_seconds: int | None = None
    ) -> None:
        """Hold only what was used. Not done if it cannot be: the log settles it all the same."""
        self._end(
            "shrunk",
            tenant,
            reservation_id,
            lambda identity: self.transport.shrink(tenant, identity, usage, extend_seconds),
        )

    def release(self, tenant: str, reservation_id: str | None) -> None:
        """Give everything back. Not done if it cannot be: time does it."""
        self._end("released", tenant, reservation_id, lambda identity: self.transport.release(tenant, identity))

    def attach(self, subject: Subject, lease: HeldBlock) -> bool:
        """Let a lease answer for a tenant and a model; False if another one does."""
        with self._lock:
            return self._leases.setdefault(subject, lease) is lease

    def detach(self, subject: Subject, lease: HeldBlock) -> None:
        """Let this lease answer no more."""
        with self._lock:
            if self._leases.get(subject) is lease:
                del self._leases[subject]

    def close(self) -> None:
        """Close leases and connections."""
        for lease in tuple(self._leases.values()):
            lease.close()
        self.transport.close()

    def _leased(self, subject: Subject, estimate: Amounts, tier: str | None) -> Admitted | None:
        """Admit a call from a lease: for exactly its subject, else one that no Region was named for."""
        if not self._leases:
            return None
        for one in (subject, subject._replace(region=None)) if subject.region else (subject,):
            lease = self._leases.get(one)
            if lease is not None:
                admitted = lease.admit(estimate, region=subject.region, tier=tier)
                if admitted is not None:
                    return admitted
        return None

    def _asked(self, tenant: str, send: Callable[[], T]) -> T:
        """Send a request, and remember whether it was answered: being refused or busy is an answer too."""
        try:
            answer = send()
        except QuotaBusy as busy:
            if not busy.remembered:
                self.memory.outage.answered()
            raise
        except QuotaUnavailable as problem:
            if problem.closed:
                self.memory.outage.answered()
            else:
                self.memory.outage.failed(tenant, problem.kind)
            raise
        except (QuotaRefused, ForeignProfile):
            self.memory.outage.answered()
            raise
        self.memory.outage.answered()
        return answer

    def _end(self, how: str, tenant: str, reservation_id: str | None, send: Callable[[str], None]) -> None:
        if reservation_id is not None and self.memory.outage.lets(tenant):
            try:
                self._asked(tenant, lambda: send(reservation_id))
            except (QuotaUnavailable, QuotaRefused) as problem:
                # In a flood that is one line a call: no warning each.
                level = logging.INFO if isinstance(problem, QuotaBusy) else logging.WARNING
                logger.log(level, "reservation %s of tenant %s was not %s: %s", reservation_id, tenant, how, problem)

    def _without_a_decision(self, subject: Subject, problem: QuotaUnavailable) -> Admitted:
        """Let a call go on or raise, by the policy."""
        known = self.memory.policy(subject.tenant)
        is_open = known == "open" if isinstance(problem, QuotaBusy) else known != "closed"
        if problem.closed or self.fail == "closed" or not is_open:
            raise problem
        logger.warning(
            "no decision about tenant %s, nor about its profile: the call goes on (fail=open): %s",
            subject.tenant,
            problem,
        )
        return Admitted(subject.tenant, Reservation(None, self.memory.profile(subject), degraded=True))

    def _extension(self, ends_at: float) -> int | None:
        """Seconds to extend a hold by, if it would end before the log of a call that is over now may have come."""
        return self.log_lag_seconds if ends_at - self.clock() < self.log_lag_seconds else None


def _no_profile(subject: Subject, available: Sequence[Mapping[str, Any]]) -> NoProfile:
    return NoProfile(subject.tenant, subject.model or subject.profile or "", available)


def named_tenant(tenant: object) -> str:
    """Return a tenant's id.

    Raises:
        ConfigurationError: It is no text, or an empty one.
    """
    if not isinstance(tenant, str) or not tenant:
        raise ConfigurationError(
            f"whose call is it? The tenant is {tenant!r}: give the id of a tenant, or a function that returns one"
        )
    return tenant
