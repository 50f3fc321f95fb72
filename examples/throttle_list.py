"""A service that keeps a throttle list from the meter's events, and so knows without asking anybody.

    make up                                          # in another terminal
    .venv/bin/python -m examples.throttle_list

It reads the consumer queue of the stack, into which the template's rule puts every event. A list is a few seconds
behind and holds nothing: it spares a tenant that is throttled anyway the way to the quota API. Limits that have to hold
need reservations (``examples/guarded_service.py``).
"""

import json
import sys
from time import time
from typing import Any
from uuid import uuid4

from bedrock_meter.client import ThrottleList
from bedrock_meter.client.throttles import Throttle
from examples.local_stack import MODEL, apply_tenants, create_profile, local_stack, wait_for, write_record


class Listener:
    """Keeps a throttle list up to date from a queue.

    Args:
        sqs: Client.
        queue: Address of the queue.
    """

    def __init__(self, sqs: Any, queue: str) -> None:
        self._sqs = sqs
        self._queue = queue
        self.throttles = ThrottleList()

    def listen(self) -> None:
        """Take in what is in the queue; what was taken in leaves the queue, and not before."""
        while messages := self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                self.throttles.apply(json.loads(message["Body"]))
                self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])

    def throttled(self, tenant: str) -> tuple[Throttle, ...] | None:
        """Return why a tenant is throttled, as of what was heard until now; None where it is not."""
        self.listen()
        return self.throttles.of(tenant) or None


def main() -> int:
    """Run the example; 0 if everything happened as it says."""
    stack = local_stack()
    tenant = f"listed-{int(time())}"
    profile = create_profile(stack, tenant)
    listener = Listener(stack.endpoint.client("sqs"), stack.outputs["ConsumerQueueUrl"])

    limit(tenant, profile, 3)
    print(f"1. {tenant} may make 3 calls an hour; on the list: {listener.throttled(tenant) is not None}")

    for _ in range(3):
        write_record(stack, profile=profile, request_id=str(uuid4()), usage={"inputTokens": 20, "outputTokens": 30})
    (throttle,) = wait_for("Tenant Throttled", lambda: listener.throttled(tenant))
    print(f"2. three records later it is on the list: limit {throttle.limit}, until {throttle.until}")

    limit(tenant, profile, 100)
    wait_for("Tenant Throttle Lifted", lambda: True if listener.throttled(tenant) is None else None)
    print("3. with a higher limit it is off the list again")
    return 0


def limit(tenant: str, profile: str, calls: int) -> None:
    """Define the tenant with so many calls an hour."""
    apply_tenants(
        f"""tenants:
  - id: {tenant}
    profiles: [{{id: "{profile}", model: {MODEL}}}]
    limits: [{{name: hourly-calls, meter: requests, window: 1h, max: {calls}, hard: true}}]
"""
    )


if __name__ == "__main__":
    sys.exit(main())
