"""``tenants boost``: more of one limit for a while."""

import re
from datetime import datetime
from typing import Annotated

import typer

from bedrock_meter.cli.deployed import LOCAL, caller, outputs_of_stack, tables_of

_FACTOR = re.compile(r"([0-9]{1,4})(?:\.([0-9]{1,3}))?", re.ASCII)


def register(tenants: typer.Typer) -> None:
    """Add the command."""
    tenants.command(
        "boost",
        short_help="Add to one limit of a tenant for a while.",
        help="Add to one limit of a tenant for a while, by an amount or a factor. Ends by itself. Boosts that overlap "
        "add up; a limit has at most 4 that are not over.",
        epilog="Example: bedrock-meter tenants boost acme hourly-tokens --factor 1.5 --from 2026-12-01T00:00Z "
        '--to 2026-12-08T00:00Z --reason "launch week" --stack bedrock-meter',
    )(boost)


def boost(
    tenant: Annotated[str, typer.Argument(help="Id of the tenant.", show_default=False)],
    limit: Annotated[str, typer.Argument(help="Name of the limit.", show_default=False)],
    to: Annotated[str, typer.Option("--to", metavar="INSTANT", help="When it is over; with an offset or Z.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; for the history.")],
    begin: Annotated[
        str | None,
        typer.Option("--from", metavar="INSTANT", help="When it begins.  [default: now]", show_default=False),
    ] = None,
    amount: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="What is added: 300k, 2M, $5.", show_default=False)
    ] = None,
    factor: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="What the maximum is multiplied by: 1.5.", show_default=False)
    ] = None,
    stack: Annotated[
        str,
        typer.Option(metavar="NAME", help="CloudFormation stack, with your AWS settings; local: the one `up` serves."),
    ] = LOCAL,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="NAME", help="Who does it.  [default: your ARN, from STS]", show_default=False),
    ] = None,
) -> None:
    """Boost a limit."""
    from uuid import uuid4

    from bedrock_meter.clock import iso, now_ms
    from bedrock_meter.limits.boosts import Boost
    from bedrock_meter.limits.definition import parse_maximum
    from bedrock_meter.local.failures import BadInput
    from bedrock_meter.storage.audit import DynamoDBAuditTrail
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.installation import DynamoDBInstallationStore
    from bedrock_meter.storage.tenants import PynamoDBTenantStore
    from bedrock_meter.tenants.boosting import boost_limit
    from bedrock_meter.tenants.onboarding import installed_limits
    from bedrock_meter.tenants.tenant import BoostGrant

    if (amount is None) == (factor is None):
        raise BadInput("give either --amount or --factor")
    from_ms = now_ms() if begin is None else instant_ms("--from", begin)
    to_ms, permille = instant_ms("--to", to), permille_of(factor) if factor is not None else 0
    outputs = outputs_of_stack(stack)
    tables, dynamodb = tables_of(outputs), client("dynamodb")
    installation = DynamoDBInstallationStore(dynamodb, tables)
    meters = {one.name: one.meter for one in installed_limits(installation, tenant)}
    if limit not in meters:
        raise BadInput(f"{tenant} has no limit {limit}; it has {', '.join(meters) or 'none'}")
    added = parse_maximum(meters[limit], amount) if amount is not None else 0
    grant = BoostGrant(limit, Boost(from_ms, to_ms, added, permille), reason, caller(by).by)
    store, trail = PynamoDBTenantStore(tables), DynamoDBAuditTrail(dynamodb, tables)
    is_new = boost_limit(store, installation, trail, tenant, grant, clock=now_ms, new_id=lambda: uuid4().hex)
    print(f"{tenant}: {limit} {'boosted' if is_new else 'has this boost'}: {iso(from_ms)} to {iso(to_ms)}")


def instant_ms(option: str, text: str) -> int:
    """Return an instant that a person wrote with its offset.

    Raises:
        BadInput: It is none.
    """
    from bedrock_meter.local.failures import BadInput

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise BadInput(f"{option} {text}: write an instant with its offset, such as 2026-12-01T00:00Z")
    return round(found.timestamp() * 1000)


def permille_of(text: str) -> int:
    """Return what a factor adds, in thousandths.

    Raises:
        BadInput: It is no decimal number above 1 with at most 3 places.
    """
    from bedrock_meter.local.failures import BadInput

    number = _FACTOR.fullmatch(text)
    permille = int(number[1]) * 1000 + int((number[2] or "").ljust(3, "0")) - 1000 if number else 0
    if permille < 1:
        raise BadInput(f"--factor {text}: write a number above 1 with at most 3 decimal places, such as 1.5")
    return permille
