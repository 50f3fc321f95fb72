"""Deploying the real template to a local stack, through CloudFormation."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bedrock_meter.local.concessions import concede
from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.local.failures import LocalStackFailed
from bedrock_meter.local.packaging import packaged_template
from bedrock_meter.local.project import Project

STACK_NAME = "bedrock-meter"
PARAMETERS = {
    "CreateConsumerQueue": "true",
    "CreateHeartbeat": "false",
    "LookUpProfiles": "false",
    "InvocationLogAccounts": "*",
    "InvocationLogRegions": "*",
    "OnlyMeterPublishes": "false",
}
"""A local run shows what a consumer receives. The local stack knows no alarm on metric math, which the heartbeat is,
and no policy of a bus; its profiles are not those of the samples, and whoever replays records has them from any account
and Region.
"""

DEPLOY_S = 120
_ARTIFACTS = "artifacts"
_TEMPLATE = "template.json"
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployed stack.

    Attributes:
        endpoint: Where it lives.
        name: Of the CloudFormation stack.
        outputs: Of the template.
    """

    endpoint: Endpoint
    name: str
    outputs: Mapping[str, str]


def deploy(endpoint: Endpoint, project: Project, parameters: Mapping[str, str] = PARAMETERS) -> Deployment:
    """Create the stack and wait for it. The layers must be built.

    Raises:
        LocalStackFailed: The stack was refused; says which resource, and why.
    """
    s3 = endpoint.client("s3")
    s3.create_bucket(Bucket=_ARTIFACTS)

    def upload(name: str, content: bytes) -> str:
        s3.put_object(Bucket=_ARTIFACTS, Key=name, Body=content)
        return f"s3://{_ARTIFACTS}/{name}"

    template = packaged_template(project, upload)
    concede(template)
    # As `sam deploy` does: a request holds 51,200 bytes of template at most.
    upload(_TEMPLATE, json.dumps(template).encode())
    cloudformation = endpoint.client("cloudformation")
    try:
        cloudformation.create_stack(
            StackName=STACK_NAME,
            TemplateURL=f"{endpoint.url}/{_ARTIFACTS}/{_TEMPLATE}",
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
    except cloudformation.exceptions.ClientError as refusal:
        raise LocalStackFailed(f"the local stack refused the template: {refusal}") from refusal
    deadline = time.monotonic() + DEPLOY_S
    while (stack := _describe(cloudformation))["StackStatus"] == "CREATE_IN_PROGRESS":
        if time.monotonic() > deadline:
            raise LocalStackFailed(f"the template is not deployed after {DEPLOY_S} s")
        time.sleep(_POLL_S)
    if stack["StackStatus"] != "CREATE_COMPLETE":
        raise LocalStackFailed(f"the template could not be deployed: {_reasons(cloudformation)}")
    return Deployment(endpoint, STACK_NAME, outputs_of(stack))


def outputs_of(stack: Mapping[str, Any]) -> dict[str, str]:
    """Return the outputs of a described stack."""
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _describe(cloudformation: Any) -> Mapping[str, Any]:
    stack: Mapping[str, Any] = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
    return stack


def _reasons(cloudformation: Any) -> str:
    events = cloudformation.describe_stack_events(StackName=STACK_NAME)["StackEvents"]
    failures = [
        f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', event['ResourceStatus'])}"
        for event in reversed(events)
        if event["ResourceStatus"].endswith("_FAILED")
    ]
    return "; ".join(failures) or "no reason was given"
