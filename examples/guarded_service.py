"""A service that guards its calls to Bedrock: admitted, settled by the log, and finally throttled.

    make up                                          # in another terminal
    .venv/bin/python -m examples.guarded_service

What a service of yours has of this is the part between the two lines; ``boto3.client("bedrock-runtime")`` stands where
a client of the local stack does here.
"""

import sys
from collections.abc import Callable, Mapping
from time import time
from typing import Any

from botocore.credentials import Credentials

from bedrock_meter.client import RESERVATION_KEY, HttpTransport, QuotaBusy, TenantGuard, TenantThrottled
from examples.local_stack import MODEL, apply_tenants, create_profile, local_stack, wait_for, write_record

QUESTION = [{"role": "user", "content": [{"text": "What is on my next invoice?"}]}]
MOST_TOKENS = 100
LIMIT = 400
MORE_THAN_ENOUGH = 20


def main() -> int:
    """Run the example; 0 if everything happened as it says."""
    stack = local_stack()
    tenant = f"guarded-{int(time())}"
    profile = create_profile(stack, tenant)
    apply_tenants(
        f"""tenants:
  - id: {tenant}
    profiles: [{{id: "{profile}", model: {MODEL}}}]
    limits: [{{name: hourly-tokens, meter: total_tokens, window: 1h, max: {LIMIT}, hard: true}}]
"""
    )

    # ------------------------------------------------------------------------------------------ what a service writes
    access = stack.api
    transport = HttpTransport(
        access.url, region="us-east-1", credentials=Credentials(access.access_key, access.secret_key)
    )
    guard = TenantGuard(transport, fail="closed")
    bedrock = guard.wrap(stack.endpoint.client("bedrock-runtime"), tenant=tenant)

    def ask() -> Any:
        return bedrock.converse(modelId=MODEL, messages=QUESTION, inferenceConfig={"maxTokens": MOST_TOKENS})

    # ----------------------------------------------------------------------------------------------------------------

    answer = ask()
    reservation = answer["ResponseMetadata"]["bedrock-meter"]["reservation"]
    print(f"1. admitted: the call went through {profile.rpartition('/')[2]} under reservation {reservation}")
    print(f"   {limit_line(transport, tenant)}")

    log(stack, profile, answer, reservation)
    wait_for("the settlement", lambda: settled(transport, tenant, reservation))
    print("2. its log record settled it: what was reserved is used now")
    print(f"   {limit_line(transport, tenant)}")

    for number in range(2, MORE_THAN_ENOUGH):
        status, headers, answer = respond(ask)
        if status == 429:
            print(f"3. call {number} is denied before Bedrock sees it: {answer['detail']}")
            print(f"   {limit_line(transport, tenant)}")
            guard.close()
            return 0 if 0 < int(headers.get("Retry-After", 0)) <= 3_900 else 1
        reservation = answer["ResponseMetadata"]["bedrock-meter"]["reservation"]
        log(stack, profile, answer, reservation)
        wait_for("the settlement", lambda held=reservation: settled(transport, tenant, held))  # type: ignore[misc]
    print(f"{MORE_THAN_ENOUGH} calls, and none was denied", file=sys.stderr)
    return 1


def respond(ask: Callable[[], Any]) -> tuple[int, Mapping[str, str], Any]:
    """Return status, headers and document of what a service answers its own caller.

    A denial is a 429 with the tenant's own wait, or without one where waiting does not help. A quota API that was asked
    too fast is no denial: 503, and when to come again.
    """
    try:
        return 200, {}, ask()
    except TenantThrottled as denied:
        wait = {} if denied.retry_after is None else {"Retry-After": str(denied.retry_after)}
        return 429, wait, denied.problem()
    except QuotaBusy as busy:
        return 503, {"Retry-After": str(busy.retry_after)}, {"title": "Try again", "status": 503, "detail": str(busy)}


def log(stack: Any, profile: str, answer: Any, reservation: str) -> None:
    """Write the record that Bedrock would write of a call."""
    write_record(
        stack,
        profile=profile,
        request_id=answer["ResponseMetadata"]["RequestId"],
        usage=answer["usage"],
        metadata={RESERVATION_KEY: reservation},
    )


def settled(transport: HttpTransport, tenant: str, reservation: str) -> bool | None:
    """Return True once the log's record has settled a reservation."""
    return True if transport.reservation(tenant, reservation)["status"] == "settled" else None


def limit_line(transport: HttpTransport, tenant: str) -> str:
    """Return what the quota API says of the tenant's limit."""
    (limit,) = transport.quota(tenant)["limits"]
    held = f"{limit['used']} used, {limit['reserved']} reserved"
    return f"{limit['name']}: {held}, {limit['remaining']} of {limit['max']} left"


if __name__ == "__main__":
    sys.exit(main())
