"""Leases: a block of quota that one process holds and many calls draw from, without asking anybody.

* A block is a reservation of kind ``lease``. Log records count as usage and do not settle it: its holder shrinks it.
* A block is used for a part of its time only. What was drawn in its last moment is in no log yet, so that the hold
  outlives the use by the log's lag: usable for ``seconds``, held for ``seconds + log_lag_seconds``.
* It is renewed by the calls themselves: when a quarter is left, or a quarter of its time, a call that has just come
  back fetches the next block. No thread. A lease that nobody uses ends by itself.
* What is left of a block is given back when the next one is there, on ``close``, and when the interpreter ends; in a
  process that dies it is given back by time.
"""

import atexit
import logging
import threading
import uuid
import weakref
from collections.abc import Callable
from dataclasses import replace

from bedrock_meter.client.admission import Admission, Admitted
from bedrock_meter.client.errors import QuotaBusy, QuotaUnavailable, TenantThrottled
from bedrock_meter.client.forking import tell_after_fork
from bedrock_meter.client.quota import Amounts, Denial, Reservation, ReservationRequest, Subject
from bedrock_meter.errors import MeterError

logger = logging.getLogger("bedrock_meter.client")

ATTEMPTS = 3
"""Blocks that a call waits for, where others draw them empty before it."""

AGAIN_SECONDS = 5
"""No other block is asked for so soon after one could not be had."""

LOW = 4
"""A block is low when less than one part in so many is left of an amount or of its time."""

_CACHE_KINDS = frozenset({"cache_read_tokens", "cache_write_tokens"})

_leases: "weakref.WeakSet[Lease]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for lease in tuple(_leases):
        lease.close()


class _Block:
    """What is left of one reservation, and which kinds its calls read. Guarded by the lease's lock.

    ``unsettled`` are tokens that calls drew which may have used a cache and have not said so yet.
    """

    __slots__ = (
        "cache_read",
        "cache_written",
        "input_left",
        "low_at",
        "output_left",
        "requests_left",
        "reservation",
        "unsettled",
        "usable_until",
    )

    def __init__(self, reservation: Reservation, size: Amounts, low_at: float, usable_until: float) -> None:
        self.reservation = reservation
        self.requests_left = size.requests
        self.input_left = size.input_tokens
        self.output_left = size.output_tokens
        self.cache_read = self.cache_written = self.unsettled = 0
        self.low_at = low_at
        self.usable_until = usable_until


class Lease:
    """A block for one tenant and one model. Safe to use from many threads; a forked child has none of it.

    Calls of guarded clients draw from it as long as it is open. ``input_tokens`` of the block are what calls read in
    any way, with or without a cache, so that it is priced as the dearest of these. Calls of another service tier than
    the default, and calls that state pictures or a cost, are asked for by themselves: the block holds none.

    Args:
        admission: Asks for blocks.
        subject: Whose calls, of what. Without a Region: of the Region that the block's profile is in.
        size: How much to hold at a time: requests, input and output tokens.
        seconds: For how long a block is drawn from.
    """

    def __init__(self, admission: Admission, subject: Subject, size: Amounts, seconds: int) -> None:
        self.tenant = subject.tenant
        self.size = size
        self.subject = subject
        self._admission = admission
        self._clock: Callable[[], float] = admission.clock
        self._seconds = seconds
        self._closed = False
        self._renewal_at = float("-inf")
        self._is_denied = False
        self.forget_parent()
        tell_after_fork(self)
        _leases.add(self)

    def forget_parent(self) -> None:
        """Drop the block in a forked child: it is the parent's, and was reserved once."""
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        self._block: _Block | None = None

    # --- calls

    def admit(self, estimate: Amounts, *, region: str | None = None, tier: str | None = None) -> Admitted | None:
        """Admit a call from memory; fetch a block if there is none.

        Args:
            estimate: Upper bounds.
            region: Region of the caller's client; None for the lease's own.
            tier: Service tier that the call asks for.

        Returns:
            None if the call has to be asked for by itself: it is too large, or there is no other block to be had.
        """
        if tier not in (None, "default") or estimate.images or estimate.cost_nano_usd:
            return None
        block = self.take(estimate, region)
        for _ in range(ATTEMPTS):
            if block is not None or self._closed or not self._could_hold(estimate) or self._is_elsewhere(region):
                break
            if not self._renew(waiting=True):
                break
            block = self.take(estimate, region)
        if block is None:
            return None
        return Admitted(
            self.tenant,
            block.reservation,
            leased=True,
            used=lambda amounts: self._give_back(block, estimate, amounts),
            refused=lambda: self._give_back(block, estimate, Amounts()),
        )

    def take(self, estimate: Amounts, region: str | None = None) -> _Block | None:
        """Draw from the block without network; None if it does not hold so much, is too old, or of another Region."""
        with self._lock:
            block = self._block
            if (
                block is None
                or estimate.requests > block.requests_left
                or estimate.read_tokens > block.input_left
                or estimate.output_tokens > block.output_left
                or self._clock() >= block.usable_until
                or not self._serves(region, block)
            ):
                return None
            block.requests_left -= estimate.requests
            block.input_left -= estimate.read_tokens
            block.output_left -= estimate.output_tokens
            block.unsettled += _cacheable(estimate)
            return block

    def _give_back(self, block: _Block, estimate: Amounts, usage: Amounts) -> None:
        """Put back what a call did not use, or take what it used beyond its estimate; then renew if it is time.

        What its answer left unsaid stays drawn.
        """
        settled, read, output = _cacheable(estimate), usage.read_tokens, usage.output_tokens
        if "input_tokens" in usage.unsaid or (settled and usage.unsaid & _CACHE_KINDS):
            settled, read = 0, max(read, estimate.read_tokens)
        if "output_tokens" in usage.unsaid:
            output = estimate.output_tokens
        with self._lock:
            block.requests_left += estimate.requests - usage.requests
            block.input_left += estimate.read_tokens - read
            block.output_left += estimate.output_tokens - output
            block.cache_read += usage.cache_read_tokens
            block.cache_written += usage.cache_write_tokens
            block.unsettled -= settled
        if block is self._block and self._is_low(block):
            self._renew(waiting=False)

    # --- blocks

    def open(self) -> "Lease":
        """Fetch the first block.

        Raises:
            TenantThrottled: So much cannot be had.
            NoProfile: The tenant has no profile for the model.
            ForeignProfile: The profile is another tenant's.
            QuotaUnavailable: There is no decision; calls would be asked for one by one then, under the policy.
            QuotaRefused: The question is wrong.
        """
        try:
            with self._renewing:
                self._fetch()
        except MeterError:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Give back what is left. Calls in flight stay covered by what they drew. Repeating it does nothing."""
        self._closed = True
        self._admission.detach(self.subject, self)
        with self._renewing:
            self._drop()

    @property
    def left(self) -> Amounts:
        """What can still be drawn; nothing where there is no block."""
        with self._lock:
            block = self._block
            if block is None or self._clock() >= block.usable_until:
                return Amounts()
            return Amounts(*(max(0, one) for one in (block.requests_left, block.input_left, block.output_left)))

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serves(self, region: str | None, block: _Block) -> bool:
        """Whether a call of a client in this Region may go through the block's profile."""
        if region in (None, self.subject.region):
            return True
        profile = block.reservation.profile
        return self.subject.region is None and profile is not None and profile.region == region

    def _is_elsewhere(self, region: str | None) -> bool:
        """Whether there is a block, and another one of this lease would not serve a call of this Region either."""
        block = self._block
        return block is not None and not self._serves(region, block)

    def _could_hold(self, estimate: Amounts) -> bool:
        return (
            estimate.requests <= self.size.requests
            and estimate.read_tokens <= self.size.input_tokens
            and estimate.output_tokens <= self.size.output_tokens
        )

    def _is_low(self, block: _Block) -> bool:
        return (
            block.requests_left * LOW < self.size.requests
            or block.input_left * LOW < self.size.input_tokens
            or block.output_left * LOW < self.size.output_tokens
            or self._clock() >= block.low_at
        )

    def _renew(self, *, waiting: bool) -> bool:
        """Fetch the next block if it is still time to; one thread does, others wait for it or go on.

        Returns:
            Whether there is another block than before.
        """
        before = self._block
        if not self._renewing.acquire(blocking=waiting):
            return False
        try:
            if self._block is before and not self._closed and self._clock() >= self._renewal_at:
                self._fetch()
                self._is_denied = False
        except MeterError as problem:  # the next call asks for itself, and is told
            pause = problem.retry_after if isinstance(problem, QuotaBusy) else AGAIN_SECONDS
            self._renewal_at = self._clock() + min(pause, AGAIN_SECONDS)
            self._is_denied = isinstance(problem, TenantThrottled)
            logger.info("the lease of tenant %s was not renewed: %s", self.tenant, problem)
        finally:
            if waiting and self._is_denied and self._block is before:
                self._drop()  # a call does not fit in, and its rest would stand in that call's way
            self._renewing.release()
        return self._block is not None and self._block is not before

    def _drop(self) -> None:
        with self._lock:
            block, self._block = self._block, None
        if block is not None:
            self._retire(block)

    def _fetch(self) -> None:
        """Reserve a block, then give back the rest of the one before."""
        old = self._block
        if old is not None and self._clock() >= old.usable_until:
            self._drop()  # first: its rest would stand in the way of the next
            old = None
        held_for = self._seconds + self._admission.log_lag_seconds
        subject = self.subject
        estimate = replace(self.size, may_cache=True)
        request = ReservationRequest(
            uuid.uuid4().hex, estimate, subject.model, subject.profile, held_for, "lease", subject.region
        )
        asked_at = self._clock()
        answer = self._admission.ask(self.subject, request)
        if isinstance(answer, Denial):
            raise TenantThrottled(self.tenant, answer.document, answer.retry_after, remembered=False)
        if answer.degraded or answer.id is None:
            raise QuotaUnavailable("the meter's storage is down: it holds no block")
        self._admission.check_profile(subject, answer)
        low_at = asked_at + self._seconds * (LOW - 1) / LOW
        block = _Block(answer, self.size, low_at, asked_at + self._seconds)
        with self._lock:
            self._block = block
        if old is not None:
            self._retire(old)

    def _retire(self, block: _Block) -> None:
        """Hold of a block only what was drawn from it; the rest is free at once.

        What a call drew that may have used a cache and did not say so counts as input, as read from a cache and as
        written to one: more than it can have used, never less.
        """
        with self._lock:
            read = self.size.input_tokens - block.input_left
            spent = Amounts(
                requests=_between(self.size.requests - block.requests_left, self.size.requests),
                input_tokens=_between(read - block.cache_read - block.cache_written, self.size.input_tokens),
                output_tokens=_between(self.size.output_tokens - block.output_left, self.size.output_tokens),
                cache_read_tokens=_between(block.cache_read + block.unsettled, self.size.input_tokens),
                cache_write_tokens=_between(block.cache_written + block.unsettled, self.size.input_tokens),
            )
        if spent.requests or spent.read_tokens or spent.output_tokens:
            self._admission.shrink(self.tenant, block.reservation.id, spent)
        else:
            self._admission.release(self.tenant, block.reservation.id)


def _cacheable(estimate: Amounts) -> int:
    return estimate.read_tokens if estimate.may_cache or estimate.read_tokens > estimate.input_tokens else 0


def _between(amount: int, maximum: int) -> int:
    return max(0, min(amount, maximum))
