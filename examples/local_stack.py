"""What the examples need of the local stack that `make up` serves. With AWS, none of this is yours to write.

The stack's Bedrock is emulated: it answers, and writes no invocation log. So the examples write the record that Bedrock
would write of each call, with the answer's own request id. Everything from the log group on is the deployed meter.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from bedrock_meter.clock import iso, now_ms
from bedrock_meter.local.project import find_project
from bedrock_meter.local.sending import STREAM
from bedrock_meter.local.stack import LocalStack, served_stack

MODEL = "anthropic.claude-sonnet-4-6"
PATIENCE_SECONDS = 60

T = TypeVar("T")


def local_stack() -> LocalStack:
    """Return the stack that `make up` serves; ends the program where there is none."""
    stack = served_stack(find_project())
    if stack is None:
        print("no local stack is being served: run `make up` in another terminal first", file=sys.stderr)
        raise SystemExit(1)
    return stack


def create_profile(stack: LocalStack, name: str) -> str:
    """Create an application inference profile, as `bedrock-meter` does for a tenant on AWS; returns its ARN."""
    source = f"arn:aws:bedrock:us-east-1::foundation-model/{MODEL}"
    bedrock = stack.endpoint.client("bedrock")
    created = bedrock.create_inference_profile(inferenceProfileName=name, modelSource={"copyFrom": source})
    return str(created["inferenceProfileArn"])


def apply_tenants(text: str) -> None:
    """Load a tenants file into the stack, with the operator's command; `--yes` because a program cannot be asked."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tenants.yaml"
        file.write_text(text, encoding="utf-8")
        words = [sys.executable, "-m", "bedrock_meter.cli", "tenants", "apply", str(file), "--yes"]
        subprocess.run(words, check=True, stdout=sys.stderr)


def write_record(
    stack: LocalStack,
    *,
    profile: str,
    request_id: str,
    usage: Mapping[str, int],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write what Bedrock would log of a Converse call, without bodies.

    Args:
        stack: Where.
        profile: ARN that the call named as its model.
        request_id: ``x-amzn-RequestId`` of the answer.
        usage: ``usage`` of the answer.
        metadata: The call's ``requestMetadata``.
    """
    record: dict[str, Any] = {
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
        "timestamp": iso(now_ms()),
        "accountId": profile.split(":")[4],
        "identity": {"arn": f"arn:aws:sts::{profile.split(':')[4]}:assumed-role/example-service/session"},
        "region": "us-east-1",
        "requestId": request_id,
        "operation": "Converse",
        "modelId": profile,
        "input": {"inputContentType": "application/json", "inputTokenCount": usage["inputTokens"]},
        "output": {"outputContentType": "application/json", "outputTokenCount": usage["outputTokens"]},
    }
    if metadata:
        record["requestMetadata"] = dict(metadata)
    event = {"timestamp": now_ms(), "message": json.dumps(record)}
    group = stack.outputs["InvocationLogGroup"]
    stack.endpoint.client("logs").put_log_events(logGroupName=group, logStreamName=STREAM, logEvents=[event])


def wait_for(what: str, look: Callable[[], T | None]) -> T:
    """Look again and again until there is something; ends the program after a minute."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends:
        if (found := look()) is not None:
            return found
        time.sleep(0.2)
    print(f"waited {PATIENCE_SECONDS} s for {what}", file=sys.stderr)
    raise SystemExit(1)
