"""``preflight``: whether what Bedrock logs reaches the recorder. Each finding comes with its fix."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bedrock_meter.cli.deployed import LOCAL, outputs_of_stack, tables_of
from bedrock_meter.cli.options import Output, Stack
from bedrock_meter.cli.terminal import console

if TYPE_CHECKING:
    from bedrock_meter.preflight.findings import Expected, Finding

FOUND = 1
"""Exit code: a finding is an error."""

STREAM = "bedrock-meter/preflight"
"""Log stream of the test lines: never Bedrock's own."""

POLL_S = 0.5
_STYLES = {"ok": "", "unknown": "italic", "warning": "bold", "error": "bold red"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        short_help="Check the way from Bedrock's log to the recorder.",
        help="Read Bedrock's logging configuration, its role and log group, the subscription and the recorder's "
        "permission, and send a test line through the log group. The line is no record: it counts nothing, and leaves "
        "one item in the Quotas table for an hour. Exit code 1 when a finding is an error.",
        epilog="Example: bedrock-meter preflight --stack bedrock-meter",
    )(preflight)


def preflight(
    stack: Stack = LOCAL,
    test_line: Annotated[
        bool, typer.Option("--test-line/--no-test-line", help="Send a line through the log group; or only read.")
    ] = True,
    wait: Annotated[int, typer.Option(metavar="SECONDS", min=1, help="For how long to wait for that line.")] = 120,
    output: Output = "table",
) -> None:
    """Check the way from Bedrock's log to the recorder."""
    from bedrock_meter.cli.progress import Progress
    from bedrock_meter.clock import iso, now_ms
    from bedrock_meter.preflight.findings import findings
    from bedrock_meter.storage.dynamodb import session
    from bedrock_meter.storage.logging_setup import observe

    with Progress() as progress:
        outputs = outputs_of_stack(stack)
        clients = session().create_client
        expected = expected_of(stack, outputs, clients)
        progress.tell("reading the configuration")
        found = findings(expected, observe(clients, expected))
        if test_line:
            progress.tell(f"waiting up to {wait} s for a test line to come out of the recorder")
            found.append(_send_line(outputs, clients, expected, wait))
        progress.pause()
    document = {
        "stack": stack,
        "at": iso(now_ms()),
        "account": expected.account,
        "region": expected.region,
        "findings": [document_of(one) for one in found],
    }
    if output == "json":
        print(json.dumps(document, indent=2))
    else:
        _print_table(document["findings"])  # type: ignore[arg-type]
    if any(one.level == "error" for one in found):
        raise typer.Exit(FOUND)


def expected_of(stack: str, outputs: Mapping[str, str], clients: Any) -> "Expected":
    """Return what a stack needs, from its outputs and its recorder."""
    from bedrock_meter.preflight.findings import Expected

    described = clients("lambda").get_function_configuration(FunctionName=outputs["RecordUsageFunction"])
    arn = str(described["FunctionArn"])
    _, partition, _, region, account, *_ = arn.split(":")
    bucket = _bucket_parameter(stack, clients)
    logging_role = outputs.get("InvocationLoggingRoleArn", "")
    return Expected(account, region, partition, outputs["InvocationLogGroup"], arn, bucket, logging_role)


def document_of(finding: "Finding") -> dict[str, str]:
    """Return a finding as the command's JSON document holds it."""
    return {"check": finding.check, "level": finding.level, "finding": finding.text, "fix": finding.fix}


def _bucket_parameter(stack: str, clients: Any) -> str:
    """Return the bucket that a stack on AWS reads; the local one reads none."""
    if stack == LOCAL:
        return ""
    described = clients("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    parameters = {one["ParameterKey"]: one["ParameterValue"] for one in described.get("Parameters", [])}
    return str(parameters.get("InvocationLogBucketName", ""))


def _send_line(outputs: Mapping[str, str], clients: Any, expected: "Expected", wait_s: int) -> "Finding":
    from uuid import uuid4

    from bedrock_meter.clock import now_ms
    from bedrock_meter.invocations.probe import PROBE_LINE
    from bedrock_meter.preflight.findings import Finding, probe_finding
    from bedrock_meter.storage.dynamodb import AWS_ERRORS, client, failure_name
    from bedrock_meter.storage.logging_setup import write_line
    from bedrock_meter.storage.probes import DynamoDBProbes

    nonce, sent_ms = uuid4().hex, now_ms()
    try:
        write_line(clients("logs"), expected.log_group, STREAM, f"{PROBE_LINE}{nonce}", sent_ms)
    except AWS_ERRORS as error:
        text = f"no test line could be written: {failure_name(error)}"
        return Finding(
            "test line", "unknown", text, "run it with logs:CreateLogStream and logs:PutLogEvents on the group"
        )
    probes = DynamoDBProbes(client("dynamodb"), tables_of(outputs))
    ends_s = time.monotonic() + wait_s
    while (read_ms := probes.read_at_ms(nonce)) is None and time.monotonic() < ends_s:
        time.sleep(POLL_S)
    return probe_finding(None if read_ms is None else max(0, read_ms - sent_ms), wait_s * 1000)


def _print_table(rows: Sequence[Mapping[str, str]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = console()
    table = Table("check", "level", "finding, and what to do", box=box.SIMPLE_HEAD)
    for row in rows:
        said = row["finding"] + (f"\n-> {row['fix']}" if row["fix"] else "")
        table.add_row(Text(row["check"]), Text(row["level"]), Text(said), style=_STYLES[row["level"]])
    out.print(table)
    levels = [row["level"] for row in rows]
    counted = ", ".join(f"{levels.count(level)} {level}" for level in _STYLES if level in levels)
    out.print(f"{len(rows)} checks: {counted}", soft_wrap=True)
