"""``tenants``: what a stack knows of its tenants, and changes of it. Adding and removing have modules of their own."""

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bedrock_meter.cli import adding, boosting, removing
from bedrock_meter.cli.administering import AdminApi, Api, no_author
from bedrock_meter.cli.deployed import LOCAL, caller, outputs_of_stack, tables_of
from bedrock_meter.cli.options import By, Output, Stack
from bedrock_meter.cli.removing import Tenant
from bedrock_meter.cli.terminal import print_table

if TYPE_CHECKING:
    from bedrock_meter.tenants.tenant import TenantDefinition

_WIDTH_ELSEWHERE = 200


def register(app: typer.Typer) -> None:
    """Add the commands."""
    tenants = typer.Typer(help="Tenants, their profiles and their limits.", rich_markup_mode=None)
    adding.register(tenants)
    tenants.command(
        "apply",
        short_help="Load a tenants file into a deployed stack.",
        help="Load a tenants file into a deployed stack. Can be repeated: what is as wanted is left alone, tenants "
        "that the file does not name stay as they are.",
        epilog="Example: bedrock-meter tenants apply tenants.yaml --stack bedrock-meter",
    )(apply_file)
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
    app.add_typer(tenants, name="tenants")


def apply_file(
    file: Annotated[Path, typer.Argument(help="Tenants, their profiles and limits (YAML).", show_default=False)],
    stack: Stack = LOCAL,
    api: Api = None,
    by: By = None,
) -> None:
    """Load tenants into a stack."""
    from bedrock_meter.cli.reattribute import point_to_reattribution
    from bedrock_meter.cli.tenants import apply_gateways, apply_tenants, load_gateways, load_plans, load_tenants
    from bedrock_meter.clock import iso

    definitions, gateways, plans = load_tenants(file), load_gateways(file), load_plans(file)
    if api is not None:
        no_author(by)
        _apply_over(AdminApi(api), definitions, is_about_the_stack=gateways is not None or bool(plans))
        return
    outputs = outputs_of_stack(stack)
    if gateways is not None:
        apply_gateways(gateways, outputs)
    has_more = False
    for applied in apply_tenants(definitions, outputs, caller(by).by, plans):
        has_more = has_more or any(
            one.startswith(("profile ", "principal ")) and not one.endswith(" removed") for one in applied.changed
        )
        print(f"{applied.tenant}: {', '.join(applied.changed) or 'as it was'}; holds from {iso(applied.effective_ms)}")
    if has_more:
        point_to_reattribution(stack)


def _apply_over(api: AdminApi, definitions: Sequence["TenantDefinition"], *, is_about_the_stack: bool) -> None:
    from bedrock_meter.local.failures import BadInput
    from bedrock_meter.tenants.administration import document_of

    if is_about_the_stack:
        raise BadInput(
            "gateways and plans are the stack's, and this changes tenants: apply the file to --stack, or its plans "
            "with `bedrock-meter plans apply --api` and then its tenants alone"
        )
    for definition in definitions:
        changed = api.put(definition.id, document_of(definition))
        print(f"{definition.id}: {', '.join(changed) or 'as it was'}")


def show(tenant: Tenant, stack: Stack = LOCAL, api: Api = None, output: Output = "table") -> None:
    """Show one tenant."""
    if api is not None:
        _show_document(AdminApi(api).tenant(tenant)[0], output)
        return
    from bedrock_meter.clock import iso, now_ms
    from bedrock_meter.limits.status import quota_status
    from bedrock_meter.local.failures import BadInput
    from bedrock_meter.storage import gauges
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.tenants import PynamoDBTenantStore
    from bedrock_meter.tenants.boosting import boosts_not_over
    from bedrock_meter.tenants.plans import source_of

    tables = tables_of(outputs_of_stack(stack))
    store = PynamoDBTenantStore(tables)
    definition = store.tenant(tenant)
    if definition is None:
        raise BadInput(f"there is no tenant {tenant}")
    gauge = gauges.load_one(client("dynamodb"), tables.quotas, tenant)
    status = quota_status(gauge, now_ms()) if gauge is not None else {}
    installed = [one.limit for one in gauge.layout.limits] if gauge is not None else []
    document = {
        **summary(definition),
        "suspended": status.get("suspended"),
        "allowed": status.get("allowed"),
        "limits": [{**one, "source": source_of(definition, one["name"])} for one in status.get("limits", [])],
        "removed_limits": list(definition.removes),
        "boosts": boosts_not_over(definition, installed, now_ms()),
        "profiles": [
            {
                "id": one.id,
                "arn": one.arn,
                "model": one.model,
                "routing": one.routing,
                "by": "tag" if one.tagged else "person",
                "periods": [
                    {"tenant": period.tenant, "from": iso(period.from_ms), "to": iso(period.to_ms)}
                    for period in store.periods(one.id)[1]
                ],
            }
            for one in definition.profiles
        ],
    }
    if output == "json":
        print(json.dumps(document, indent=2))
        return
    for name in ("tenant", "name", "timezone", "plan", "removed", "allowed"):
        if document[name] is not None:
            print(f"{name}: {document[name]}")
    if document["suspended"]:
        print(f"suspended: since {document['suspended']['since']}: {document['suspended']['reason']}")
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
    print_rows(
        [{name: one[name] for name in ("arn", "model", "routing", "by")} for one in document["profiles"]], "profiles"
    )


def _show_document(document: Mapping[str, Any], output: str) -> None:
    """Show what the admin API says: the definition; what is used of it is the quota API's."""
    if output == "json":
        print(json.dumps(document, indent=2))
        return
    for name in ("id", "name", "timezone", "plan", "fail"):
        if document.get(name) is not None:
            print(f"{name}: {document[name]}")
    limits = [
        {name: one.get(name) for name in ("name", "meter", "window", "max", "hard")} for one in document["limits"]
    ]
    print_rows(limits, "limits")
    if document.get("boosts"):
        boosts = ("id", "limit", "amount", "factor", "from", "to", "reason", "by")
        print_rows([{name: one.get(name) for name in boosts} for one in document["boosts"]], "boosts")
    print_rows([{"id": one["id"], "model": one.get("model")} for one in document["profiles"]], "profiles")


def list_all(stack: Stack = LOCAL, api: Api = None, output: Output = "table") -> None:
    """List all tenants."""
    from bedrock_meter.storage.tenants import PynamoDBTenantStore
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
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; shown in the quota answer and event.")],
    stack: Stack = LOCAL,
    api: Api = None,
    by: By = None,
) -> None:
    """Suspend a tenant."""
    from bedrock_meter.tenants.offboarding import suspend_tenant

    if api is not None:
        no_author(by)
        held = AdminApi(api).suspend(tenant, reason)
        print(f"{tenant}: suspended since {held['since']}: {held['reason']}")
        return
    store, actor = removing.suspensions(outputs_of_stack(stack), by)
    done = suspend_tenant(store, tenant, reason, actor)
    print(f"{tenant}: {'suspended' if done else 'was suspended already; its reason stays'}")


def resume(tenant: Tenant, stack: Stack = LOCAL, api: Api = None, by: By = None) -> None:
    """End a suspension."""
    from bedrock_meter.tenants.offboarding import resume_tenant

    if api is not None:
        no_author(by)
        AdminApi(api).resume(tenant)
        print(f"{tenant}: not suspended")
        return
    store, actor = removing.suspensions(outputs_of_stack(stack), by)
    done = resume_tenant(store, tenant, actor)
    print(f"{tenant}: {'resumed' if done else 'was not suspended'}")


def summary(definition: "TenantDefinition") -> dict[str, Any]:
    """Return what a list says of a tenant."""
    from bedrock_meter.clock import iso

    return {
        "tenant": definition.id,
        "name": definition.name,
        "timezone": definition.timezone,
        "plan": definition.plan,
        "removed": iso(definition.removed_ms),
    }


def print_rows(rows: Sequence[Mapping[str, Any]], noun: str) -> None:
    """Print rows as a table, and how many there are."""
    print_table(rows, f"{len(rows):,} {noun}", _WIDTH_ELSEWHERE)
