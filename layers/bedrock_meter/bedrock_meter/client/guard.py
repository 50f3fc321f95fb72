"""``TenantGuard``: existing code keeps calling Bedrock, and each call is asked for first.

::

    guard = TenantGuard(HttpTransport("https://...execute-api.eu-west-1.amazonaws.com"))
    bedrock = guard.wrap(boto3.client("bedrock-runtime"), tenant="acme")
    bedrock.converse(modelId="anthropic.claude-sonnet-4-6", messages=[...])
"""

import time
import weakref
from collections.abc import Callable
from typing import Any, Literal

from bedrock_meter.client.admission import Admission, Admitted, Policy
from bedrock_meter.client.estimate import Estimator
from bedrock_meter.client.estimate import estimate as default_estimate
from bedrock_meter.client.forking import tell_after_fork
from bedrock_meter.client.hooks import Hooks
from bedrock_meter.client.lease import Lease
from bedrock_meter.client.memory import Memory
from bedrock_meter.client.operations import GUARDED
from bedrock_meter.client.quota import Amounts, Transport
from bedrock_meter.errors import ConfigurationError

MINIMUM_TTL_SECONDS = 10
MAXIMUM_TTL_SECONDS = 3_600

_wrapped: "weakref.WeakSet[Any]" = weakref.WeakSet()


class TenantGuard:
    """Holds quota for calls to Bedrock before they are made. Safe to use from many threads, and across forks.

    One guard serves a process: what it remembers (denials, outages, leases) serves all its clients.

    Args:
        transport: ``HttpTransport`` to ask the quota API, ``TableTransport`` to go straight to the tables.
        fail: Where nobody can say whether a call may be made: ``open`` lets it go on, marked ``degraded``; ``closed``
            raises ``QuotaUnavailable``. A tenant whose own policy is ``closed`` is never opened by this one.
        missing_profile: Where a tenant has no application inference profile for a model: ``refuse`` raises
            ``NoProfile``; ``pass`` lets the call go out as it is, to be attributed by its identity or not at all.
        estimate: Says what a call may use at most.
        ttl_seconds: For how long a call's amounts are held unless the log settles them: longer than the longest call
            and the log's lag together. 10 to 3600. Calls to agents and knowledge bases, whose records carry no
            reservation, are held for all of it.
        log_lag_seconds: How late a log record may be, 10 to 3600.
        denial_seconds: For how long a denial is remembered at most.
        outage_seconds: For how long nobody is asked after nobody answered.
        clock: Seconds that never go back.

    Raises:
        ConfigurationError: A time is outside its bounds.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        fail: Policy = "open",
        missing_profile: Literal["refuse", "pass"] = "refuse",
        estimate: Estimator = default_estimate,
        ttl_seconds: int = 300,
        log_lag_seconds: int = 180,
        denial_seconds: float = 10,
        outage_seconds: float = 5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if fail not in ("open", "closed") or missing_profile not in ("refuse", "pass"):
            raise ConfigurationError('fail is "open" or "closed", missing_profile is "refuse" or "pass"')
        _check_ttl(ttl_seconds)
        _check_ttl(log_lag_seconds)  # a hold is extended by it
        self._estimator = estimate
        memory = Memory(denial_seconds=denial_seconds, outage_seconds=outage_seconds, clock=clock)
        self._admission = Admission(
            transport,
            memory,
            fail=fail,
            missing_profile=missing_profile,
            ttl_seconds=ttl_seconds,
            log_lag_seconds=log_lag_seconds,
            clock=clock,
        )
        tell_after_fork(self._admission)

    def wrap(self, client: Any, *, tenant: str | Callable[[], str]) -> Any:
        """Guard a client of ``bedrock-runtime`` or ``bedrock-agent-runtime``, and return it.

        Args:
            client: Of boto3 or botocore. It is changed, not copied; other clients are not.
            tenant: Whose calls it makes, or what says so at each call (a context variable's ``get``).

        Raises:
            ConfigurationError: The client is of another service, or guarded already.
        """
        service = client.meta.service_model.service_name
        if service not in GUARDED:
            raise ConfigurationError(f"a client of {service} makes no metered calls: guard {' or '.join(GUARDED)}")
        if client in _wrapped:
            raise ConfigurationError("this client is guarded already: each call would be held twice")
        _wrapped.add(client)
        hooks = Hooks(
            self._admission,
            tenant if callable(tenant) else lambda: tenant,
            self._estimator,
            validates=client.meta.config.parameter_validation,
        )
        hooks.register(client)
        return client

    def admit(self, tenant: str, *, model: str | None = None, estimate: Amounts) -> Admitted:
        """Hold quota for a call that goes out by other means than a guarded client.

        Args:
            tenant: Whose call.
            model: Bedrock's identifier, in any form.
            estimate: Upper bounds.

        Returns:
            What to call the model through, what to write into the request metadata, and how to end it.

        Raises:
            TenantThrottled: It may not be made now.
            NoProfile: The tenant has no profile for the model, and ``missing_profile`` is ``refuse``.
            QuotaUnavailable: Nobody can say, and the policy is ``closed``.
            QuotaRefused: The question is wrong.
        """
        return self._admission.admit(tenant, model, estimate)

    def lease(
        self,
        tenant: str,
        *,
        model: str,
        requests: int,
        input_tokens: int = 0,
        output_tokens: int = 0,
        seconds: int = 60,
    ) -> Lease:
        """Hold a block that calls of this tenant and model draw from without asking anybody.

        Args:
            tenant: Whose quota.
            model: As calls name it.
            requests: Calls in a block.
            input_tokens: Tokens that its calls may read.
            output_tokens: Tokens that its calls may write: each call draws its maximum until it has answered.
            seconds: For how long a block is drawn from; it is held for ``log_lag_seconds`` longer.

        Returns:
            An open lease: close it, or use it in a ``with`` block.

        Raises:
            ConfigurationError: There is a lease for this tenant and model, or the times do not fit.
            TenantThrottled: So much cannot be had.
            NoProfile: The tenant has no profile for the model, and ``missing_profile`` is ``refuse``.
            QuotaUnavailable: Nobody can say.
            QuotaRefused: The question is wrong.
        """
        _check_ttl(seconds + self._admission.log_lag_seconds)
        if requests < 1:
            raise ConfigurationError("a lease without requests holds nothing for a call to draw")
        lease = Lease(self._admission, tenant, model, Amounts(requests, input_tokens, output_tokens), seconds)
        if not self._admission.attach(lease.subject, lease):
            raise ConfigurationError(f"tenant {tenant} has a lease for {model} in this process already")
        return lease.open()

    def close(self) -> None:
        """Give back what leases hold and close connections. The end of the interpreter gives back as well."""
        self._admission.close()

    def __enter__(self) -> "TenantGuard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_ttl(seconds: int) -> None:
    if not MINIMUM_TTL_SECONDS <= seconds <= MAXIMUM_TTL_SECONDS:
        raise ConfigurationError(
            f"a reservation is held for {MINIMUM_TTL_SECONDS} to {MAXIMUM_TTL_SECONDS} seconds, not {seconds}"
        )
