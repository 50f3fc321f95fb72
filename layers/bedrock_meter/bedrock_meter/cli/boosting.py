"""``tenants boost``, ``boosts`` and ``end-boost``: more of one limit for a while."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

import typer

from bedrock_meter.cli.administering import AdminApi, Api, no_author
from bedrock_meter.cli.deployed import LOCAL, caller, outputs_of_stack
from bedrock_meter.cli.office import office_of
from bedrock_meter.cli.options import By, Output, Stack
from bedrock_meter.cli.removing import Tenant
from bedrock_meter.cli.terminal import print_rows


def register(tenants: typer.Typer) -> None:
    """Add the commands."""
    tenants.command(
        "boost",
        short_help="Add to one limit of a tenant for a while.",
        help="Add to one limit of a tenant for a while, by an amount or a factor. Ends by itself. Boosts that overlap "
        "add up; a limit has at most 4 that are not over. The same one again is one.",
        epilog="Example: bedrock-meter tenants boost acme hourly-tokens --factor 1.5 --from 2026-12-01T00:00Z "
        '--to 2026-12-08T00:00Z --reason "launch week" --stack bedrock-meter',
    )(boost)
    tenants.command(
        "boosts",
        short_help="List the boosts of a tenant that are not over.",
        help="List the boosts of a tenant that are in force or still to begin, with their ids.",
        epilog="Example: bedrock-meter tenants boosts acme --stack bedrock-meter",
    )(list_boosts)
    tenants.command(
        "end-boost",
        short_help="End a boost of a tenant early.",
        help="End a boost now; one that has not begun is taken away. Reservations keep what they hold, new ones have "
        "to fit the maximum without it. One that is over stays so.",
        epilog="Example: bedrock-meter tenants end-boost acme 3f9c2a7be1d04658 --stack bedrock-meter",
    )(end_boost)


def boost(
    tenant: Tenant,
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
    stack: Stack = LOCAL,
    api: Api = None,
    by: By = None,
) -> None:
    """Boost a limit."""
    from bedrock_meter.clock import iso
    from bedrock_meter.local.failures import BadInput

    if (amount is None) == (factor is None):
        raise BadInput("give either --amount or --factor")
    from_ms, to_ms = None if begin is None else instant_ms("--from", begin), instant_ms("--to", to)
    made: Mapping[str, Any]
    if api is not None:
        no_author(by)
        wanted = {"limit": limit, "from": iso(from_ms), "to": iso(to_ms), "amount": amount, "factor": factor}
        given = {name: value for name, value in wanted.items() if value is not None}
        made, is_new = AdminApi(api).boost(tenant, {**given, "reason": reason})
    else:
        from bedrock_meter.tenants.boosting import WantedBoost

        office = office_of(outputs_of_stack(stack))
        with _known():
            made, is_new = office.boost(
                tenant, WantedBoost(limit, to_ms, reason, caller(by).by, from_ms, amount=amount, factor=factor)
            )
    print(
        f"{tenant}: {limit} {'boosted' if is_new else 'has this boost'}: {made['from']} to {made['to']} ({made['id']})"
    )


def list_boosts(tenant: Tenant, stack: Stack = LOCAL, api: Api = None, output: Output = "table") -> None:
    """List boosts."""
    from bedrock_meter.local.failures import BadInput

    found = AdminApi(api).boosts(tenant) if api is not None else office_of(outputs_of_stack(stack)).boosts(tenant)
    if found is None:
        raise BadInput(f"there is no tenant {tenant}")
    if output == "json":
        print(json.dumps(found, indent=2))
        return
    names = ("id", "limit", "amount", "unit", "factor", "from", "to", "reason", "by")
    print_rows([{name: one.get(name) for name in names} for one in found], "boosts")


def end_boost(
    tenant: Tenant,
    boost: Annotated[str, typer.Argument(help="Id of the boost, as `tenants boosts` lists it.", show_default=False)],
    stack: Stack = LOCAL,
    api: Api = None,
    by: By = None,
) -> None:
    """End a boost."""
    if api is not None:
        no_author(by)
        AdminApi(api).end_boost(tenant, boost)
    else:
        office = office_of(outputs_of_stack(stack))
        with _known():
            office.end_boost(tenant, boost, caller(by).by)
    print(f"{tenant}: boost {boost} is over")


@contextmanager
def _known() -> Iterator[None]:
    """Take a tenant or boost that is not there for a wrong argument."""
    from bedrock_meter.errors import UnknownBoost, UnknownTenant
    from bedrock_meter.local.failures import BadInput

    try:
        yield
    except (UnknownTenant, UnknownBoost) as unknown:
        raise BadInput(str(unknown)) from unknown


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
