"""Whether a call may be made, and what becomes of what was held for it. Knows nothing of boto3.

The order: a lease answers from memory; then a remembered denial; then whoever keeps the quotas, unless nobody answered
a moment ago; and if nobody answers, the policy. A call that was admitted ends in one of three ways:

* it was **used**: what is held shrinks to what the answer said;
* it was **refused** before it ran: everything is released;
* nobody knows: everything stays held, until the log settles it or its time is over.

Ending never raises and never delays with retries: what it frees would be freed by the log, or by time.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, Protocol

from bedrock_meter.client.errors import NoProfile, QuotaRefused, QuotaUnavailable, TenantThrottled
from bedrock_meter.client.memory import Memory, Subject
from bedrock_meter.client.quota import Amounts, Denial, Profile, Reservation, ReservationRequest, Transport, named_by
from bedrock_meter.invocations.identifiers import last_segment

logger = logging.getLogger("bedrock_meter.client")

Policy = Literal["open", "closed"]


class Admitted:
    """A call that may be made. Ended once, by ``used``, ``refused`` or ``unknown``; what comes later is ignored.

    As a context manager, for calls that go out without a guarded client: left without an error it stays as it is, left
    with one it is not known whether the call ran, so that it stays held too.

    Attributes:
        tenant: Whose call.
        reservation: Id of what is held; None where nothing is.
        profile: What to call the model through; None to use the identifier as it was given.
        metadata: What has to travel in the call's request metadata.
        degraded: Whether the call goes on without a decision.
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

    def admit(self, estimate: Amounts) -> Admitted | None:
        """Admit a call from memory, None if the block does not hold it."""

    def close(self) -> None:
        """Give back what is left."""


class Admission:
    """Asks, remembers, applies the policy. Safe to use from many threads.

    Args:
        transport: The way to whoever keeps the quotas.
        fail: What to do where nobody can say: ``open`` lets the call go on, ``closed`` raises ``QuotaUnavailable``.
        missing_profile: What to do where the tenant has no profile for a model: ``refuse`` or ``pass``.
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

    def admit(self, tenant: str, model_id: str | None, estimate: Amounts, *, leases: bool = True) -> Admitted:
        """Admit one call or raise.

        Args:
            tenant: Whose call.
            model_id: What the caller wants to use, in any of Bedrock's forms; None if it named nothing.
            estimate: Upper bounds.
            leases: Whether a lease may answer.

        Raises:
            TenantThrottled: It may not be made now.
            NoProfile: It may, but not so that it would be counted for the tenant; nothing is held.
            QuotaUnavailable: Nobody can say, and the policy is ``closed``.
            QuotaRefused: The question is wrong.
        """
        subject = (tenant, last_segment(model_id) if model_id else "")
        lease = self._leases.get(subject) if leases else None
        if lease is not None and (admitted := lease.admit(estimate)) is not None:
            return admitted
        model, profile = named_by(model_id) if model_id else (None, None)
        request = ReservationRequest(uuid.uuid4().hex, estimate, model, profile, self.ttl_seconds)
        ends_at = self.clock() + self.ttl_seconds
        try:
            answer = self.ask(subject, request)
        except QuotaUnavailable as problem:
            return self._without_a_decision(subject, problem)
        if isinstance(answer, Denial):
            raise TenantThrottled(tenant, answer.document, answer.retry_after, remembered=False)
        if answer.degraded:
            answer = replace(answer, profile=answer.profile or self.memory.profile(subject))
            logger.warning("the meter's storage is down: the call of tenant %s goes on without a decision", tenant)
        if model is not None and answer.profile is None and self.missing_profile == "refuse" and not answer.degraded:
            self.release(tenant, answer.id)
            raise NoProfile(tenant, model)
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
            QuotaUnavailable: Nobody answers, or nobody did a moment ago.
            QuotaRefused: The question is wrong.
        """
        remembered = self.memory.denial(subject)
        if remembered is not None:
            denial, left = remembered
            raise TenantThrottled(subject[0], denial.document, left, remembered=True)
        if self.memory.is_out_of_order:
            raise QuotaUnavailable("nobody answered a moment ago: not asked again")
        try:
            answer = self.transport.reserve(subject[0], request)
        except QuotaUnavailable as problem:
            if not problem.closed:
                self.memory.out_of_order()
            raise
        self.memory.answered()
        if isinstance(answer, Denial):
            self.memory.denied(subject, answer)
        elif request.model is not None and not answer.degraded:
            self.memory.learned(subject, answer.profile)
        return answer

    def shrink(
        self, tenant: str, reservation_id: str | None, usage: Amounts, extend_seconds: int | None = None
    ) -> None:
        """Hold only what was used. Not done if it cannot be: the log settles it all the same."""
        if reservation_id is not None and not self.memory.is_out_of_order:
            try:
                self.transport.shrink(tenant, reservation_id, usage, extend_seconds)
            except (QuotaUnavailable, QuotaRefused) as problem:
                logger.warning("reservation %s of tenant %s was not shrunk: %s", reservation_id, tenant, problem)

    def release(self, tenant: str, reservation_id: str | None) -> None:
        """Give everything back. Not done if it cannot be: time does it."""
        if reservation_id is not None and not self.memory.is_out_of_order:
            try:
                self.transport.release(tenant, reservation_id)
            except (QuotaUnavailable, QuotaRefused) as problem:
                logger.warning("reservation %s of tenant %s was not released: %s", reservation_id, tenant, problem)

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

    def _without_a_decision(self, subject: Subject, problem: QuotaUnavailable) -> Admitted:
        if problem.closed or self.fail == "closed":
            raise problem
        logger.warning("no decision about tenant %s, the call goes on (fail=open): %s", subject[0], problem)
        profile: Profile | None = self.memory.profile(subject)
        return Admitted(subject[0], Reservation(None, profile, degraded=True))

    def _extension(self, ends_at: float) -> int | None:
        """Seconds to extend a hold by, if it would end before the log of a call that is over now may have come."""
        return self.log_lag_seconds if ends_at - self.clock() < self.log_lag_seconds else None
