"""A deployed stack as the operator's commands reach it: by name on AWS, or the local one that `up` serves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bedrock_meter.errors import ConfigurationError
from bedrock_meter.settings import DAY_MS, Tables

if TYPE_CHECKING:
    from bedrock_meter.invocations.doubt import Origins

LOCAL = "local"


def outputs_of_stack(name: str) -> dict[str, str]:
    """Return a stack's outputs; for the local one, also make it what this process's AWS settings point to.

    Raises:
        BadInput: No local stack is being served.
        ConfigurationError: There is no such stack, or it is not one of ours.
    """
    from bedrock_meter.local.failures import BadInput
    from bedrock_meter.local.project import find_project
    from bedrock_meter.local.stack import served_stack

    if name != LOCAL:
        return _outputs_on_aws(name)
    served = served_stack(find_project())
    if served is None:
        raise BadInput("no local stack is being served (`bedrock-meter up`): name a stack on AWS with --stack")
    served.endpoint.adopt()
    return dict(served.outputs)


def _outputs_on_aws(stack_name: str) -> dict[str, str]:
    """Return the outputs of a stack on AWS.

    Raises:
        ConfigurationError: There is no such stack, or it is not one of ours.
    """
    from bedrock_meter.local.deployment import outputs_of
    from bedrock_meter.storage.dynamodb import session

    cloudformation: Any = session().create_client("cloudformation")
    try:
        stacks = cloudformation.describe_stacks(StackName=stack_name)["Stacks"]
    except cloudformation.exceptions.ClientError as refusal:
        raise ConfigurationError(f"stack {stack_name}: {refusal.response['Error']['Message']}") from refusal
    outputs = outputs_of(stacks[0])
    if "TenantsTable" not in outputs:
        raise ConfigurationError(f"stack {stack_name} is no bedrock-meter: it has no output TenantsTable")
    return outputs


def tables_of(outputs: Mapping[str, str]) -> Tables:
    """Return the names of a stack's tables."""
    return Tables(*(outputs[f"{name}Table"] for name in ("Ledger", "Usage", "Quotas", "Tenants")))


@dataclass(frozen=True, slots=True)
class DeployedRecorder:
    """The stack's recorder, as it is configured.

    Attributes:
        account: Account of the stack, and of its log group.
        region: Region of both.
        retention_ms: How long ledger entries are kept.
        origins: Which records it believes.
        keeps_sessions: Whether it keeps the names of callers' sessions.
    """

    account: str
    region: str
    retention_ms: int
    origins: "Origins"
    keeps_sessions: bool


def recorder_of(outputs: Mapping[str, str]) -> DeployedRecorder:
    """Return how the stack's recorder is configured, for whoever records beside it.

    Raises:
        ConfigurationError: It does not say.
    """
    from bedrock_meter.invocations.doubt import Origins

    described = _described(outputs)
    settings = described.get("Environment", {}).get("Variables", {})
    origins = Origins.configured(lambda name: str(settings.get(name, "")))
    _, _, _, region, account, *_ = str(described["FunctionArn"]).split(":")
    keeps_sessions = settings.get("KEEP_SESSION_NAMES") != "false"
    return DeployedRecorder(account, region, _retention_ms(outputs, described), origins, keeps_sessions)


def retention_ms(outputs: Mapping[str, str]) -> int:
    """Return for how long the stack's recorder keeps ledger entries, as it is configured.

    Raises:
        ConfigurationError: It does not say.
    """
    return _retention_ms(outputs, _described(outputs))


def _described(outputs: Mapping[str, str]) -> Any:
    from bedrock_meter.storage.dynamodb import client

    return client("lambda").get_function_configuration(FunctionName=outputs["RecordUsageFunction"])


def _retention_ms(outputs: Mapping[str, str], described: Any) -> int:
    days = described.get("Environment", {}).get("Variables", {}).get("LEDGER_RETENTION_DAYS", "")
    if not days.isdigit():
        name = outputs["RecordUsageFunction"]
        raise ConfigurationError(f"function {name} has no LEDGER_RETENTION_DAYS: is it one of bedrock-meter?")
    return int(days) * DAY_MS


@dataclass(frozen=True, slots=True)
class Caller:
    """Who runs the command, and where.

    Attributes:
        by: The caller's ARN, or the name that was given.
        partition: ``aws``, ``aws-cn`` or the like.
        account: Twelve digits.
        region: Region of these AWS settings.
    """

    by: str
    partition: str
    account: str
    region: str

    @property
    def here(self) -> str:
        """Beginning of the ARNs of Bedrock's resources in this account and Region."""
        return f"arn:{self.partition}:bedrock:{self.region}:{self.account}:"


def caller(name: str | None = None) -> Caller:
    """Return who the AWS settings say that we are; ``name`` stands for the ARN in audit entries."""
    from bedrock_meter.storage.dynamodb import client

    sts = client("sts")
    identity = sts.get_caller_identity()
    arn = str(identity["Arn"])
    return Caller(name or arn, arn.split(":")[1], str(identity["Account"]), str(sts.meta.region_name))
