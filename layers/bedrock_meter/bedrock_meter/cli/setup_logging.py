"""``setup-logging``: what Bedrock's logging configuration would have to be, and that written when asked to."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from bedrock_meter.cli.deployed import LOCAL, outputs_of_stack
from bedrock_meter.cli.options import Output, Stack
from bedrock_meter.cli.terminal import console


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "setup-logging",
        short_help="Show what Bedrock's logging configuration needs, and change it with --yes.",
        help="Compare Bedrock's logging configuration of this account and Region with what the stack needs, and show "
        "the difference. Nothing is written without --yes: a write replaces the whole configuration, and a security "
        "team may own it. Destinations that are there stay.",
        epilog="Example: bedrock-meter setup-logging --metadata-only --stack bedrock-meter",
    )(setup_logging)


def setup_logging(
    stack: Stack = LOCAL,
    metadata_only: Annotated[
        bool | None,
        typer.Option(
            "--metadata-only/--with-bodies",
            help="Keep prompts and answers out of the log, or put them in. Without either: as it is, or out of it "
            "where logging was off.",
        ),
    ] = None,
    role_arn: Annotated[
        str,
        typer.Option(metavar="ARN", help="Role by which Bedrock writes; by default the present one, or the stack's."),
    ] = "",
    replace_log_group: Annotated[
        bool, typer.Option("--replace-log-group", help="Take out another log group that records go to now.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Write it.")] = False,
    output: Output = "table",
) -> None:
    """Compare the configuration with what the stack needs, and write it with --yes."""
    from bedrock_meter.errors import ConfigurationError
    from bedrock_meter.preflight.configuration import differences, wanted
    from bedrock_meter.storage.dynamodb import session
    from bedrock_meter.storage.logging_setup import read_configuration, write_configuration

    outputs = outputs_of_stack(stack)
    clients = session().create_client
    before = read_configuration(clients)
    after = wanted(
        before,
        log_group=outputs["InvocationLogGroup"],
        role_arn=role_arn,
        own_role_arn=outputs.get("InvocationLoggingRoleArn", ""),
        metadata_only=metadata_only,
        replace_log_group=replace_log_group,
    )
    changes = differences(before, after)
    if yes and changes:
        if read_configuration(clients) != before:
            raise ConfigurationError("somebody changed the configuration meanwhile; nothing was written: look again")
        write_configuration(clients, after)
        if differences(read_configuration(clients), after):
            raise ConfigurationError("the configuration does not read as it was written: look at it again")
    document = {
        "before": before,
        "after": after,
        "changes": [{"key": path, "before": old, "after": new} for path, old, new in changes],
        "written": bool(yes and changes),
    }
    if output == "json":
        print(json.dumps(document, indent=2))
    else:
        _print_table(document)


def _print_table(document: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from bedrock_meter.preflight.configuration import LOST_WITHOUT_BODIES, delivered_bodies

    out = console()
    if document["changes"]:
        table = Table("configuration", "before", "after", box=box.SIMPLE_HEAD)
        for row in document["changes"]:
            table.add_row(
                Text(row["key"]), *(Text("-" if one is None else str(one)) for one in (row["before"], row["after"]))
            )
        out.print(table)
    if bodies := delivered_bodies(document["after"]):
        said = f"Prompts and answers are logged ({', '.join(bodies)}). Metering needs none of them: --metadata-only."
    else:
        said = f"Prompts and answers stay out of the log. Not known without them: {LOST_WITHOUT_BODIES}."
    out.print(said, soft_wrap=True)
    if document["written"]:
        said = "Written."
    else:
        said = "Nothing was written; --yes writes it." if document["changes"] else "It is as it should be."
    out.print(said, soft_wrap=True)
