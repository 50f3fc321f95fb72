"""``tenants export``: what a stack holds of its tenants, as a file that ``tenants apply`` finds unchanged."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bedrock_meter.cli.administering import AdminApi, Api
from bedrock_meter.cli.deployed import LOCAL, outputs_of_stack
from bedrock_meter.cli.options import Stack

if TYPE_CHECKING:
    from bedrock_meter.cli.ways import Way
    from bedrock_meter.tenants.tenant import TenantDefinition


def register(tenants: typer.Typer) -> None:
    """Add the command."""
    tenants.command(
        "export",
        short_help="Write tenants as a file that `tenants apply` takes.",
        help="Write complete entries of tenants to stdout, as `tenants apply` reads them: applied again, they change "
        "nothing. Without ID all tenants that are not removed, the plans and the gateways; the admin API knows of no "
        "gateways. Boosts, suspensions and usage are no part of a file.",
        epilog="Example: bedrock-meter tenants export acme --stack bedrock-meter",
    )(export)


def export(
    tenants: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Which; all by default.", show_default=False)
    ] = None,
    stack: Stack = LOCAL,
    api: Api = None,
) -> None:
    """Write tenants as a file."""
    import sys

    import yaml

    from bedrock_meter.cli.ways import ApiWay, table_way

    way = ApiWay(AdminApi(api)) if api is not None else table_way(outputs_of_stack(stack))
    document = exported(way, tenants or ())
    if not tenants and api is not None:
        print("gateways are not part of it: no route of the admin API shows them", file=sys.stderr)
    print(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100), end="")


def exported(way: "Way", ids: Sequence[str]) -> dict[str, Any]:
    """Return a tenants file of these tenants, or of all with plans and gateways.

    Raises:
        BadInput: There is no such tenant, or it is removed: its entry would bring it back.
        CommandFailed: A tenant holds what no file can say.
    """
    from bedrock_meter.errors import InvalidDefinition
    from bedrock_meter.local.failures import BadInput, CommandFailed
    from bedrock_meter.tenants.administration import document_of
    from bedrock_meter.tenants.file import parse
    from bedrock_meter.tenants.trust import DEFAULT_METADATA_KEY

    entries = []
    for tenant in dict.fromkeys(ids) or way.ids():
        definition = way.tenant(tenant).definition
        if definition is None:
            raise BadInput(f"there is no tenant {tenant}")
        if definition.removed_ms is not None:
            raise BadInput(f"{tenant} was removed: applying its entry would bring it back")
        entry = document_of(_owned(way, definition))
        try:
            parse({"tenants": [entry]})
        except InvalidDefinition as problem:
            raise CommandFailed(f"no file can say this of tenant {tenant}: {problem}") from problem
        entries.append({name: value for name, value in entry.items() if value is not None})
    document: dict[str, Any] = {"tenants": entries}
    if ids:
        return document
    plans = way.plans()
    if plans:
        document = {"plans": [plans[name].document() for name in sorted(plans)], **document}
    gateways = way.gateways()
    if gateways is not None and (gateways.principals or gateways.metadata_key != DEFAULT_METADATA_KEY):
        document["gateways"] = {"principals": list(gateways.principals), "metadata_key": gateways.metadata_key}
    return document


def _owned(way: "Way", definition: "TenantDefinition") -> "TenantDefinition":
    """Return a definition without what another tenant got since: listed in a file, it would be taken back."""
    profiles = {one.id: one for one in definition.profiles}
    owners = way.owners(sorted(profiles), sorted(definition.principals))
    return replace(
        definition,
        profiles=tuple(one for name, one in profiles.items() if owners.get(name) == definition.id),
        principals=tuple(one for one in definition.principals if owners.get(one) == definition.id),
    )
