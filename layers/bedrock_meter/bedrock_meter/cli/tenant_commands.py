"""``tenants``: what a stack knows of its tenants, and changes of it. Adding and removing have modules of their own."""

import json
from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any

import typer

from bedrock_meter.cli import adding, apply_commands, boosting, erasing, exporting, removing
from bedrock_meter.cli.administering import AdminApi, Api, no_author
from bedrock_meter.cli.deployed import LOCAL, outputs_of_stack, tables_of
from bedrock_meter.cli.options import By, Output, Stack
from bedrock_meter.cli.removing import Tenant
from bedrock_meter.cli.terminal import print_rows


def register(app: typer.Typer) -> None:
    """Add the commands."""
    tenants = typer.Typer(help="Tenants, their profiles and their limits.", rich_markup_mode=None)
    adding.register(tenants)
    apply_commands.register(tenants)
    exporting.register(tenants)
    tenants.command(
        "show",
        short_help="Show a tenant: limits and what is used, profiles, suspension.",
        help="Show a tenant: definition, limits and what is used of them now, profiles with their periods, suspension.",
        epilog="Example: bedrock-meter tenants show acme --stack bedrock-meter",
    )(show)
    tenants.command(
        "list",
        short_help="List all tenants.",
        help="List all tenants. Reads the whole Tenants table.",
        epilog="Example: bedrock-meter tenants list --output json --stack bedrock-meter",
    )(list_all)
    tenants.command(
        "history",
        short_help="Show who changed what of a tenant.",
        help="Show who changed what of a tenant, newest first. An entry is written before its change.",
        epilog="Example: bedrock-meter tenants history acme --stack bedrock-meter",
    )(history)
    tenants.command(
        "suspend",
        short_help="Answer that a tenant may not call, until it is resumed.",
        help="Let the quota API answer that a tenant may not call, until it is resumed. Usage goes on being recorded. "
        "Publishes `Tenant Suspended`.",
        epilog='Example: bedrock-meter tenants suspend acme --reason "invoice unpaid" --stack bedrock-meter',
    )(suspend)
    tenants.command(
        "resume",
        short_help="End a suspension.",
        help="End a suspension. Publishes `Tenant Resumed`.",
        epilog="Example: bedrock-meter tenants resume acme --stack bedrock-meter",
    )(resume)
    boosting.register(tenants)
    removing.register(tenants)
    erasing.register(tenants)
    app.add_typer(tenants, name="tenants")


def show(tenant: Tenant, stack: Stack = LOCAL, api: Api = None, output: Output = "table") -> None:
    """Show one tenant."""
    document = AdminApi(api).overview(tenant) if api is not None else _overview(tenant, stack)
    if output == "json":
        print(json.dumps(document, indent=2))
        return
    for name in ("tenant", "name", "timezone", "plan", "removed", "allowed"):
        if document[name] is not None:
            print(f"{name}: {document[name]}")
    if document["suspended"]:
        print(f"suspended: {_suspension(document['suspended'])}")
    print_rows(
        [
            {name: one[name] for name in ("name", "used", "max", "remaining", "throttled_until", "source")}
            for one in document["limits"]
        ],
        "limits",
    )
    if document["boosts"]:
        names = ("id", "limit", "amount", "factor", "from", "to", "reason", "by")
        print_rows([{name: one.get(name) for name in names} for one in document["boosts"]], "boosts")
    print_rows([_profile_row(one) for one in document["profiles"]], "profiles")


def _profile_row(profile: Mapping[str, Any]) -> dict[str, Any]:
    """Return a profile's line: its id and Region tell profiles apart, of ARNs a terminal shows the same beginning."""
    region = profile["arn"].split(":")[3] if profile["arn"].startswith("arn:") else None
    facts = {name: profile[name] for name in ("model", "routing", "geography", "by")}
    return {"id": profile["id"], "region": region, **facts}


def _overview(tenant: str, stack: str) -> dict[str, Any]:
    from bedrock_meter.clock import now_ms
    from bedrock_meter.local.failures import BadInput
    from bedrock_meter.storage.directory import DynamoDBDirectoryStore
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.installation import DynamoDBInstallationStore
    from bedrock_meter.storage.tenants import PynamoDBTenantStore
    from bedrock_meter.tenants.overview import Overviews

    tables = tables_of(outputs_of_stack(stack))
    dynamodb = client("dynamodb")
    gauge_of, directory = DynamoDBInstallationStore(dynamodb, tables).gauge, DynamoDBDirectoryStore(dynamodb, tables)
    document = Overviews(PynamoDBTenantStore(tables), gauge_of, directory, now_ms).overview(tenant)
    if document is None:
        raise BadInput(f"there is no tenant {tenant}")
    return document


def list_all(stack: Stack = LOCAL, api: Api = None, output: Output = "table") -> None:
    """List all tenants."""
    from bedrock_meter.storage.tenants import PynamoDBTenantStore
    from bedrock_meter.tenants.overview import summary
    from bedrock_meter.tenants.tenant import TenantDefinition

    if api is None:
        store = PynamoDBTenantStore(tables_of(outputs_of_stack(stack)))
        found = [one for one in store.everything() if isinstance(one, TenantDefinition)]
        rows = [{**summary(one), "profiles": len(one.profiles)} for one in found]
    else:
        rows = [
            {
                "tenant": one["id"],
                **{name: one[name] for name in ("name", "timezone", "plan")},
                "removed": one["removed_at"],
                "profiles": one["profiles"],
            }
            for one in AdminApi(api).tenants()
        ]
    rows.sort(key=lambda row: str(row["tenant"]))
    if output == "json":
        print(json.dumps(rows, indent=2))
    else:
        print_rows(rows, "tenants")


def history(
    tenant: Tenant,
    stack: Stack = LOCAL,
    api: Api = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Show this many entries at most.")] = 50,
    output: Output = "table",
) -> None:
    """Show who changed what."""
    from bedrock_meter.clock import iso
    from bedrock_meter.storage.audit import DynamoDBAuditTrail
    from bedrock_meter.storage.dynamodb import client

    rows: list[dict[str, Any]]
    if api is not None:
        rows = list(islice(AdminApi(api).history(tenant), limit))
    else:
        tables = tables_of(outputs_of_stack(stack))  # before any client: the local stack's settings come with it
        trail = DynamoDBAuditTrail(client("dynamodb"), tables)
        rows = [
            {"at": iso(one.at_ms), "by": one.by, "what": one.what, "before": one.before, "after": one.after}
            for one in trail.history(tenant, limit)
        ]
    if output == "json":
        print(json.dumps(rows, indent=2))
    else:
        print_rows(
            [{**row, **{side: json.dumps(row[side]) for side in ("before", "after") if row[side]}} for row in rows],
            "entries",
        )


def suspend(
    tenant: Tenant,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; for administrators only.")],
    public_reason: Annotated[
        str | None,
        typer.Option("--public-reason", metavar="TEXT", help="What the tenant reads: in its quota answer, and events."),
    ] = None,
    stack: Stack = LOCAL,
    api: Api = None,
    by: By = None,
) -> None:
    """Suspend a tenant."""
    from bedrock_meter.limits.suspension import suspension_document
    from bedrock_meter.tenants.offboarding import suspend_tenant

    if api is not None:
        no_author(by)
        held = AdminApi(api).suspend(tenant, reason, public_reason)
    else:
        store, actor = removing.suspensions(outputs_of_stack(stack), by)
        suspend_tenant(store, tenant, reason, actor, public_reason)
        held = suspension_document(store.suspension(tenant)[1]) or {}
    print(f"{tenant}: suspended {_suspension(held)}")


def _suspension(held: Mapping[str, Any]) -> str:
    shown = f"; the tenant reads: {held['public_reason']}" if held.get("public_reason") else ""
    return f"since {held.get('since')}: {held.get('reason')}{shown}"


def resume(tenant: Tenant, stack: Stack = LOCAL, api: Api = None, by: By = None) -> None:
    """End a suspension."""
    from bedrock_meter.tenants.offboarding import resume_tenant

    if api is not None:
        no_author(by)
        AdminApi(api).resume(tenant)
    else:
        store, actor = removing.suspensions(outputs_of_stack(stack), by)
        resume_tenant(store, tenant, actor)
    print(f"{tenant}: not suspended")
