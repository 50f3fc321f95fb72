"""``TenantGuard``: existing code keeps calling Bedrock, and each call is asked for first.

::

    guard = TenantGuard(HttpTransport("https://...execute-api.eu-west-1.amazonaws.com"))
    bedrock = guard.wrap(boto3.client("bedrock-runtime"), tenant="acme")
    bedrock.converse(modelId="anthropic.claude-sonnet-4-6", messages=[...])
"""

import inspect
import time
import weakref
from collections.abc import Callable
from typing import Any, Literal

from bedrock_meter.client.admission import Admission, Admitted, named_tenant
from bedrock_meter.client.estimate import Estimator
from bedrock_meter.client.estimate import estimate as default_estimate
from bedrock_meter.client.forking import tell_after_fork
from bedrock_meter.client.hooks import Hooks
from bedrock_meter.client.lease import Lease
from bedrock_meter.client.memory import Memory
from bedrock_meter.client.operations import GUARDED, METADATA_HEADER
from bedrock_meter.client.quota import Amounts, Policy, Transport, subject_of
from bedrock_meter.errors import ConfigurationError

MINIMUM_TTL_SECONDS = 10
MAXIMUM_TTL_SECONDS = 3_600

_wrapped: "weakref.WeakSet[Any]" = weakref.WeakSet()


class TenantGuard:
    """Holds quota for calls to Bedrock before they are made. Safe to use from many threads, and across forks.

    One guard serves a process: what it remembers (denials, outages, leases) serves all its clients.

    Args:
        transport: ``HttpTransport``: the way to the quota API.
        fail: Where there is no decision about a call: ``open`` lets it go on, marked ``degraded``; ``closed`` raises
            ``QuotaUnavailable``. A tenant whose effective policy is ``closed``, because it says so or because a strict
            limit can deny, is not opened by this one as soon as an answer of the quota API has said so. Where the API
            was asked too fast, a tenant that was not seen yet is not opened either.
        missing_profile: Where a tenant has no application inference profile for what a call names (a model without
            one, a profile that is not the tenant's, a provisioned model or another resource): ``refuse`` raises
            ``NoProfile``; ``pass`` lets the call go out as it is, to be attributed by its identity or not at all.
            A profile of another tenant is refused in any case. Calls without a decision are not looked at.
        estimate: Says what a call may use at most.
        ttl_seconds: For how long a call's amounts are held unless the log settles them: longer than the longest call
            and the log's lag together. 10 to 3600. Calls to agents and knowledge bases, whose records carry no
            reservation, are held for all of it.
        log_lag_seconds: How late a log record may be, 10 to 3600.
        denial_seconds: For how long a denial is remembered at most.
        outage_seconds: For how long the quota API is not asked after five failures in a row, and between two probes.
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
            ConfigurationError: The client is none of boto3, is asynchronous, is of another service, or guarded already;
                or the tenant is none. A function that gives none when a call is made raises it there.
        """
        _check_client(client)
        if not callable(tenant):
            named_tenant(tenant)
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
            region=client.meta.region_name,
            validates=client.meta.config.parameter_validation,
        )
        hooks.register(client)
        return client

    def admit(
        self,
        tenant: str,
        *,
        model: str | None = None,
        estimate: Amounts,
        region: str | None = None,
        tier: str | None = None,
    ) -> Admitted:
        """Hold quota for a call that goes out by other means than a guarded client.

        Args:
            tenant: Whose call.
            model: Bedrock's identifier, in any form.
            estimate: Upper bounds.
            region: Region that the call goes to; an ARN's own where none is given.
            tier: Service tier that the call asks for: ``default``, ``flex``, ``priority`` or ``reserved``.

        Returns:
            What to call the model through, what to write into the request metadata, and how to end it.

        Raises:
            TenantThrottled: It may not be made now.
            NoProfile: The tenant has no profile for the model, and ``missing_profile`` is ``refuse``.
            ForeignProfile: ``model`` is another tenant's profile.
            QuotaBusy: The quota API was asked too fast, and a strict limit of the tenant may deny the call.
            QuotaUnavailable: There is no decision, and the policy is ``closed``.
            QuotaRefused: The question is wrong.
            ConfigurationError: The tenant is no text, or an empty one.
        """
        return self._admission.admit(tenant, model, estimate, region=region, tier=tier)

    def lease(
        self,
        tenant: str,
        *,
        model: str,
        requests: int,
        input_tokens: int = 0,
        output_tokens: int = 0,
        seconds: int = 60,
        region: str | None = None,
    ) -> Lease:
        """Hold a block that calls of this tenant and model draw from without a request.

        Args:
            tenant: Whose quota.
            model: As calls name it.
            requests: Calls in a block.
            input_tokens: Tokens that its calls may read.
            output_tokens: Tokens that its calls may write: each call draws its maximum until it has answered.
            seconds: For how long a block is drawn from; it is held for ``log_lag_seconds`` longer.
            region: Region of the clients whose calls draw from it. Without one, the Region in the ARN of the tenant's
                profile.

        Returns:
            An open lease: close it, or use it in a ``with`` block.

        Raises:
            ConfigurationError: There is a lease for this tenant and model, or the times do not fit.
            TenantThrottled: So much cannot be had.
            NoProfile: The tenant has no profile for the model, and ``missing_profile`` is ``refuse``.
            ForeignProfile: ``model`` is another tenant's profile.
            QuotaUnavailable: There is no decision.
            QuotaRefused: The question is wrong.
        """
        _check_ttl(seconds + self._admission.log_lag_seconds)
        if requests < 1:
            raise ConfigurationError("a lease without requests holds nothing for a call to draw")
        subject = subject_of(named_tenant(tenant), model, region)
        lease = Lease(self._admission, subject, Amounts(requests, input_tokens, output_tokens), seconds)
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


def _check_client(client: Any) -> None:
    """Refuse what has none of botocore's events, or awaits them.

    Raises:
        ConfigurationError: Says what works instead.
    """
    if inspect.iscoroutinefunction(getattr(client, "_make_api_call", None)):
        raise ConfigurationError(
            "an asynchronous client cannot be guarded, since the guard asks with blocking requests: run guard.admit in "
            f"a thread (asyncio.to_thread) before each call, and send admitted.metadata as {METADATA_HEADER}"
        )
    if not hasattr(getattr(client, "meta", None), "service_model"):
        raise ConfigurationError(
            f"{type(client).__name__} is no client of boto3 or botocore, which alone can be wrapped: call guard.admit "
            "before each call, use admitted.profile.arn as its model, and send admitted.metadata as JSON in the header "
            f"{METADATA_HEADER} (litellm: as requestMetadata)"
        )


def _check_ttl(seconds: int) -> None:
    if not MINIMUM_TTL_SECONDS <= seconds <= MAXIMUM_TTL_SECONDS:
        raise ConfigurationError(
            f"a reservation is held for {MINIMUM_TTL_SECONDS} to {MAXIMUM_TTL_SECONDS} seconds, not {seconds}"
        )
