"""What was seen of the way from Bedrock to the recorder, judged: each finding says what it means and what to do.

An *error* means that usage is not metered, or will not be. A *warning* means that it is, at a price or a risk that its
owner should know. *unknown* means that we may not look, and says which right is missing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from bedrock_meter.preflight.configuration import (
    LOST_WITHOUT_BODIES,
    Configuration,
    bucket_of,
    delivered_bodies,
    log_group_of,
    role_of,
)
from bedrock_meter.preflight.policies import keeps_to_service, lets_service, services_allowed

Level = Literal["ok", "warning", "error", "unknown"]
T = TypeVar("T")

LOG_STREAM = "aws/bedrock/modelinvocations"
BEDROCK = "bedrock.amazonaws.com"
PUT_EVENTS, PUT_OBJECT = "logs:PutLogEvents", "s3:PutObject"
SHOWN = 5
"""Names of who may write that a finding shows."""
WRITES = ("logs:CreateLogStream", "logs:PutLogEvents")


@dataclass(frozen=True, slots=True)
class Finding:
    """One check.

    Attributes:
        check: Its name.
        level: How bad it is.
        text: What was found.
        fix: What to do; empty where nothing is.
    """

    check: str
    level: Level
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something that could not be looked at.

    Attributes:
        code: What AWS answered.
        action: The action that was refused.
    """

    code: str
    action: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What the stack needs.

    Attributes:
        account: Account of the stack.
        region: Region of the stack, and of Bedrock's calls that it meters.
        partition: For example ``aws``.
        log_group: Log group that it reads.
        recorder_arn: Its recorder.
        bucket: Bucket that it reads as well; empty for none.
        logging_role: Role that it made for Bedrock's logging; empty where it made none.
    """

    account: str
    region: str
    partition: str
    log_group: str
    recorder_arn: str
    bucket: str = ""
    logging_role: str = ""

    @property
    def log_group_arn(self) -> str:
        """ARN of the group, without the ``:*`` at its end."""
        return f"arn:{self.partition}:logs:{self.region}:{self.account}:log-group:{self.log_group}"

    @property
    def log_stream_arn(self) -> str:
        """ARN of the one stream that Bedrock writes."""
        return f"{self.log_group_arn}:log-stream:{LOG_STREAM}"


@dataclass(frozen=True, slots=True)
class LogGroup:
    """A log group: its class, the key that encrypts it, and for how many days it keeps records (None: for ever)."""

    kind: str = "STANDARD"
    key_arn: str = ""
    retention_days: int | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription filter."""

    name: str
    destination_arn: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Role:
    """A role: whom it trusts, and which of the writes it allows as IAM simulates them."""

    trust: Mapping[str, Any]
    allows: Mapping[str, bool] | Unreadable


@dataclass(frozen=True, slots=True)
class Writers:
    """Who of the account may write records beside Bedrock, as far as policies say.

    Attributes:
        principals: ARNs of users and roles; AWS's own service-linked roles are not among them.
        unsimulated: Why IAM did not simulate them, so that only what allows them was seen; None = it did.
        more: How many others have policies that allow it and were not simulated.
    """

    principals: Sequence[str] = ()
    unsimulated: Unreadable | None = None
    more: int = 0


@dataclass(frozen=True, slots=True)
class Observed:
    """What was read. None = it is not there.

    Attributes:
        configuration: Bedrock's logging configuration.
        log_group: The group that the stack reads.
        subscriptions: Of that group.
        function_policy: Of the recorder.
        role: The one that the configuration names; None also where it names none.
        tells_eventbridge: Whether the bucket that the stack reads tells EventBridge of new objects; None without one.
        writers: Who may write to the log group.
        log_policies: Resource policies of CloudWatch Logs that may hold for the group.
        bucket_policy: Of that bucket; None where it has none.
    """

    configuration: Configuration | Unreadable | None
    log_group: LogGroup | Unreadable | None
    subscriptions: Sequence[Subscription] | Unreadable
    function_policy: Mapping[str, Any] | Unreadable | None
    role: Role | Unreadable | None
    tells_eventbridge: bool | Unreadable | None = None
    writers: Writers | Unreadable = Writers()
    log_policies: Sequence[Mapping[str, Any]] | Unreadable = ()
    bucket_policy: Mapping[str, Any] | Unreadable | None = None


def findings(expected: Expected, seen: Observed) -> list[Finding]:
    """Return one finding for each check, in the order in which a record travels."""
    found = [_region(expected)]
    found += _judged("configuration", seen.configuration, lambda one: _configuration(expected, one))
    if not isinstance(seen.configuration, Unreadable) and seen.configuration is not None:
        found += [_bodies(seen.configuration)]
        if log_group_of(seen.configuration) == expected.log_group:
            found += _judged("role", seen.role, lambda one: _role(expected, seen.configuration, one))
    found += _judged("log group", seen.log_group, lambda one: _log_group(expected, one))
    found += _judged("subscription", seen.subscriptions, lambda one: [_subscription(expected, one)])
    found += _judged("permission", seen.function_policy, lambda one: [_permission(expected, one)])
    found += _judged("writers", seen.writers, lambda one: [_writers(expected, one)])
    found += _judged("log policies", seen.log_policies, lambda one: [_log_policies(expected, one)])
    if expected.bucket:
        found += _judged("bucket", seen.tells_eventbridge, lambda one: _bucket(expected, seen.configuration, one))
        found += _judged("bucket policy", seen.bucket_policy, lambda one: [_bucket_policy(expected, one)])
    return found


def probe_finding(after_ms: int | None, waited_ms: int) -> Finding:
    """Judge the line that was sent through the log group: when it came out, None = not yet."""
    if after_ms is not None:
        text = f"a test line came out of the recorder {after_ms / 1000:.1f} s after it was written; it counted nothing"
        return Finding("test line", "ok", text)
    return Finding(
        "test line",
        "error",
        f"a test line that was written to the log group did not come out of the recorder in {waited_ms / 1000:.0f} s",
        "see the findings above; else read the recorder's log and the alarms SubscriptionDeliveryAlarm and "
        "RecordUsageErrorsAlarm. Logs says that deliveries usually take less than three minutes: try --wait 240",
    )


def _judged(check: str, seen: T | Unreadable, judge: Callable[[T], list[Finding]]) -> list[Finding]:
    if not isinstance(seen, Unreadable):
        return judge(seen)
    text = f"could not be read: {seen.code}"
    return [Finding(check, "unknown", text, f"run it with the right {seen.action}, or ask whoever owns it")]


def _region(expected: Expected) -> Finding:
    text = f"calls in {expected.region} of account {expected.account} are metered; Bedrock logs each Region by itself"
    return Finding("Region", "ok", text)


def _configuration(expected: Expected, configuration: Configuration | None) -> list[Finding]:
    setup = "bedrock-meter setup-logging shows what to change, and changes it with --yes"
    if configuration is None:
        return [Finding("configuration", "error", "Bedrock logs nothing: no call is metered", setup)]
    group, bucket = log_group_of(configuration), bucket_of(configuration)
    reads_bucket = bool(expected.bucket) and bucket == expected.bucket
    if group == expected.log_group:
        return [Finding("configuration", "ok", f"Bedrock logs to {group}")]
    elsewhere = f"Bedrock logs to {group or 'no log group'}, and the stack reads {expected.log_group}"
    if reads_bucket:
        return [Finding("configuration", "ok", f"{elsewhere}; it reads the bucket {bucket} as well, minutes later")]
    fix = f"deploy the stack with InvocationLogGroupName={group}, or {setup}" if group else setup
    return [Finding("configuration", "error", f"{elsewhere}: no call is metered", fix)]


def _bodies(configuration: Configuration) -> Finding:
    bodies = delivered_bodies(configuration)
    if not bodies:
        return Finding("bodies", "ok", f"prompts stay out of the log; not known without them: {LOST_WITHOUT_BODIES}")
    return Finding(
        "bodies",
        "warning",
        f"prompts and answers are logged ({', '.join(bodies)}): metering needs none of them, and without them the log "
        "costs about a tenth",
        "bedrock-meter setup-logging --metadata-only, unless somebody needs them. Not known then: "
        f"{LOST_WITHOUT_BODIES}",
    )


def _role(expected: Expected, configuration: Any, role: Role | None) -> list[Finding]:
    arn = role_of(configuration)
    if role is None:
        text = f"the role {arn} by which Bedrock writes is not there: nothing is logged"
        return [Finding("role", "error", text, "bedrock-meter setup-logging names the role of the stack")]
    found = []
    source = f"arn:{expected.partition}:bedrock:{expected.region}:{expected.account}:"
    if not lets_service(
        role.trust, "bedrock.amazonaws.com", "sts:AssumeRole", source_arn=source, account=expected.account
    ):
        text = f"the role {arn} does not let bedrock.amazonaws.com assume it for this account and Region"
        found.append(
            Finding("role", "error", text, "compare its trust policy with InvocationLoggingRole in template.yaml")
        )
    if isinstance(role.allows, Unreadable):
        fix = f"grant {role.allows.action}, or compare its policy with InvocationLoggingRole in template.yaml"
        found.append(Finding("role", "unknown", f"what {arn} may do could not be simulated: {role.allows.code}", fix))
    elif missing := [action for action in WRITES if not role.allows.get(action, False)]:
        text = f"the role {arn} may not {' and '.join(missing)} on {expected.log_stream_arn}: nothing is logged"
        found.append(Finding("role", "error", text, "compare its policy with InvocationLoggingRole in template.yaml"))
    return found or [Finding("role", "ok", f"{arn} may write the stream {LOG_STREAM}")]


def _log_group(expected: Expected, group: LogGroup | None) -> list[Finding]:
    if group is None:
        text = f"the log group {expected.log_group} is not there"
        return [Finding("log group", "error", text, "make it again, or deploy the stack with another one")]
    if group.kind != "STANDARD":
        text = f"{expected.log_group} is of the class {group.kind}, which cannot be subscribed"
        return [Finding("log group", "error", text, "make another log group of the standard class and log to it")]
    found = []
    if group.retention_days is None:
        text = f"{expected.log_group} keeps records for ever, and they may hold prompts"
        fix = f"aws logs put-retention-policy --log-group-name {expected.log_group} --retention-in-days 30"
        found.append(Finding("log group", "warning", text, fix))
    if group.key_arn:
        text = f"{expected.log_group} is encrypted with {group.key_arn}: disabled, it stops the log without a word"
        found.append(
            Finding("log group", "warning", text, "let its policy allow logs.REGION.amazonaws.com, and alarm it")
        )
    return found or [Finding("log group", "ok", f"{expected.log_group} is there")]


def _subscription(expected: Expected, subscriptions: Sequence[Subscription]) -> Finding:
    ours = [one for one in subscriptions if _function(one.destination_arn) == _function(expected.recorder_arn)]
    if not ours:
        text = f"{expected.log_group} is not subscribed by the recorder: no record reaches it"
        return Finding(
            "subscription", "error", text, "make deploy puts it back; then bedrock-meter backfill for the gap"
        )
    filtering = [one for one in ours if one.pattern.strip()]
    if len(filtering) == len(ours):
        text = f"the subscription {filtering[0].name} passes on only what its pattern matches"
        return Finding("subscription", "error", text, "make deploy restores the empty pattern")
    return Finding("subscription", "ok", f"{ours[0].name} passes every record to the recorder")


def _permission(expected: Expected, policy: Mapping[str, Any] | None) -> Finding:
    source = f"{expected.log_group_arn}:*"
    if policy is not None and lets_service(
        policy, "logs.amazonaws.com", "lambda:InvokeFunction", source_arn=source, account=expected.account
    ):
        return Finding("permission", "ok", "CloudWatch Logs may invoke the recorder for this log group")
    return Finding(
        "permission",
        "error",
        "CloudWatch Logs may not invoke the recorder for this log group: it skips records for ten minutes at a time",
        "make deploy puts it back; then bedrock-meter backfill for the gap",
    )


def _bucket(expected: Expected, configuration: Any, tells_eventbridge: bool | None) -> list[Finding]:
    found = []
    logs_there = isinstance(configuration, Mapping) and bucket_of(configuration) == expected.bucket
    if not isinstance(configuration, Unreadable) and not logs_there:
        text = f"the stack reads the bucket {expected.bucket}, and Bedrock does not log to it"
        found.append(Finding("bucket", "warning", text, "add it to the configuration, or deploy without it"))
    if not tells_eventbridge:
        text = f"the bucket {expected.bucket} does not tell EventBridge of new objects: none is read"
        fix = "aws s3api put-bucket-notification-configuration with EventBridgeConfiguration"
        found.append(Finding("bucket", "error", text, fix))
    return found or [Finding("bucket", "ok", f"new objects of {expected.bucket} are read")]


_FORGE = "whoever writes there charges any tenant"
_STATEMENT = "docs/operations.md, Who can write to the log, has the statement that denies it"


def _writers(expected: Expected, writers: Writers) -> Finding:
    unseen = "not seen: policies of sessions and VPC endpoints"
    if writers.unsimulated is not None:
        unseen = (
            "not seen: what denies it, in their policies, boundaries or the organization "
            f"({writers.unsimulated.action}: {writers.unsimulated.code})"
        )
    number = len(writers.principals) + writers.more
    if not number:
        return Finding("writers", "ok", f"no other user or role may write to {expected.log_group}; {unseen}")
    shown = ", ".join(writers.principals[:SHOWN]) + (" and more" if number > SHOWN else "")
    text = (
        f"{number} users and roles beside Bedrock's may write to {expected.log_group}, and {_FORGE}: {shown}; {unseen}"
    )
    return Finding("writers", "warning", text, _STATEMENT)


def _log_policies(expected: Expected, policies: Sequence[Mapping[str, Any]]) -> Finding:
    allowed = {one for policy in policies for one in services_allowed(policy, PUT_EVENTS, expected.log_stream_arn)}
    if others := sorted(allowed - {BEDROCK}):
        text = f"resource policies of CloudWatch Logs let {', '.join(others)} write to {expected.log_group}; {_FORGE}"
        return Finding("log policies", "warning", text, "name their own log groups in these policies")
    return Finding("log policies", "ok", f"no resource policy lets another service write to {expected.log_group}")


def _bucket_policy(expected: Expected, policy: Mapping[str, Any] | None) -> Finding:
    objects = f"arn:{expected.partition}:s3:::{expected.bucket}/AWSLogs/{expected.account}/BedrockModelInvocationLogs/x"
    if policy is not None and keeps_to_service(policy, BEDROCK, PUT_OBJECT, objects):
        return Finding("bucket policy", "ok", f"only Bedrock may write records to {expected.bucket}")
    text = f"the policy of {expected.bucket} does not keep others than Bedrock from writing records; {_FORGE}"
    return Finding("bucket policy", "warning", text, _STATEMENT)


def _function(arn: str) -> str:
    """Return a function's ARN without version or alias."""
    return ":".join(arn.split(":")[:7])
