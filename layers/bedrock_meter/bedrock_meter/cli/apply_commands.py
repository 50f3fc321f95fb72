"""``tenants apply``: a tenants file into a deployed stack, after a look at what it changes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bedrock_meter.cli.administering import AdminApi, Api, no_author
from bedrock_meter.cli.deployed import LOCAL, caller, outputs_of_stack
from bedrock_meter.cli.options import Accept, By, DryRun, Output, Stack, Yes

if TYPE_CHECKING:
    from bedrock_meter.cli.applying import Agreement
    from bedrock_meter.tenants.difference import Desired


def register(tenants: typer.Typer) -> None:
    """Add the command."""
    tenants.command(
        "apply",
        short_help="Load a tenants file into a deployed stack.",
        help="Load a tenants file into a deployed stack: show every change first, and ask. What an entry leaves out is "
        "taken away; tenants that the file does not name stay as they are. Can be repeated: what is as wanted is left "
        "alone.\n\nWithout a terminal nothing is changed (exit code 4), unless --accept names the digest of the "
        "difference, or --yes takes any.",
        epilog="Example: bedrock-meter tenants apply tenants.yaml --dry-run --stack bedrock-meter",
    )(apply_file)


def apply_file(
    file: Annotated[Path, typer.Argument(help="Tenants, their profiles and limits (YAML).", show_default=False)],
    stack: Stack = LOCAL,
    api: Api = None,
    dry_run: DryRun = False,
    accept: Accept = None,
    yes: Yes = False,
    by: By = None,
    output: Output = "table",
) -> None:
    """Load tenants into a stack."""
    from bedrock_meter.cli.applying import Agreement, document_text
    from bedrock_meter.cli.reattribute import point_to_reattribution
    from bedrock_meter.cli.tenants import load_gateways, load_plans, load_tenants
    from bedrock_meter.tenants.difference import Desired

    agreement = Agreement(yes, accept, dry_run, output)
    desired = Desired(load_tenants(file), load_plans(file), load_gateways(file))
    results: list[dict[str, Any]] = []

    def done(tenant: str, changed: Sequence[str], effective: str) -> None:
        results.append({"tenant": tenant, "changed": list(changed), "effective": effective})
        if output == "table":
            print(f"{tenant}: {', '.join(changed) or 'as it was'}; holds from {effective}", flush=True)

    if api is not None:
        no_author(by)
        document = _apply_over(AdminApi(api), desired, agreement, done)
    else:
        document = _apply(stack, desired, agreement, by, done)
    if output == "json":
        print(document_text(document, results))
    if any(_gives(what) for one in results for what in one["changed"]):
        point_to_reattribution(stack if api is None else "NAME")


def _apply(stack: str, desired: "Desired", agreement: "Agreement", name: str | None, done: Any) -> dict[str, Any]:
    from bedrock_meter.cli.applying import agreed, put_plans, put_tenants
    from bedrock_meter.cli.tenants import apply_gateways, planning
    from bedrock_meter.cli.ways import table_way
    from bedrock_meter.clock import iso, now_ms
    from bedrock_meter.errors import LeaseLost

    outputs = outputs_of_stack(stack)
    by = caller(name).by
    way = table_way(outputs, by)
    held, document = agreed(way, desired, agreement)
    if desired.gateways is not None:
        apply_gateways(desired.gateways, outputs, seen=held.gateways)
    work = planning(outputs, by)
    put_plans(work, desired, held)
    put_tenants(way, desired, held, done)
    for settled in work.settle({plan.name for plan in desired.plans}):
        if settled.problem:
            raise LeaseLost(f"tenant {settled.tenant}: {settled.problem}")
        if settled.is_changed:
            done(settled.tenant, ("limits",), str(iso(now_ms())))
    return document


def _apply_over(api: AdminApi, desired: "Desired", agreement: "Agreement", done: Any) -> dict[str, Any]:
    from bedrock_meter.cli import plan_commands
    from bedrock_meter.cli.applying import agreed, put_tenants
    from bedrock_meter.cli.ways import ApiWay

    way = ApiWay(api)
    held, document = agreed(way, desired, agreement)
    done_plans = plan_commands.apply_over(api, desired.plans, held.plans, output=agreement.output)
    if any(one["failures"] for one in done_plans):
        raise typer.Exit(1)
    put_tenants(way, desired, held, done)
    return document


def _gives(what: str) -> bool:
    """Whether the tenant got something by which earlier usage may be its."""
    return what.startswith(("profile ", "principal ")) and not what.endswith(" removed")
