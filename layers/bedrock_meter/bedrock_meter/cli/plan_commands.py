"""``plans``: limits that tenants share."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bedrock_meter.cli.deployed import caller, outputs_of_stack, tables_of
from bedrock_meter.cli.options import By, Output, Stack
from bedrock_meter.cli.tenant_commands import print_rows

if TYPE_CHECKING:
    from bedrock_meter.tenants.planning import Planning, Settled

Name = Annotated[str, typer.Argument(help="Name of the plan.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    plans = typer.Typer(help="Plans: limits that tenants share.", rich_markup_mode=None)
    plans.command(
        "list",
        short_help="List all plans.",
        help="List all plans, and how many limits each has.",
        epilog="Example: bedrock-meter plans list --stack bedrock-meter",
    )(list_all)
    plans.command(
        "show",
        short_help="Show a plan, who has it, and who changed what.",
        help="Show a plan: its limits, the tenants that have it, and who changed what. Reads the whole Tenants table.",
        epilog="Example: bedrock-meter plans show gold --stack bedrock-meter",
    )(show)
    plans.command(
        "apply",
        short_help="Load the plans of a file, and install them for their tenants.",
        help="Load the plans of a tenants file, and install their limits for all tenants that have them. Plans that "
        "the file does not name stay. Checked against each tenant before the first change. Can be repeated: run it "
        "again after an interruption, and what is as wanted is left alone.",
        epilog="Example: bedrock-meter plans apply plans.yaml --stack bedrock-meter",
    )(apply_file)
    plans.command(
        "remove",
        short_help="Remove a plan that no tenant has.",
        help="Remove a plan that no tenant has; one that is used stays (exit code 2).",
        epilog="Example: bedrock-meter plans remove trial --stack bedrock-meter",
    )(remove)
    app.add_typer(plans, name="plans")


def list_all(stack: Stack = "local", output: Output = "table") -> None:
    """List all plans."""
    from bedrock_meter.storage.tenants import PynamoDBTenantStore

    found = PynamoDBTenantStore(tables_of(outputs_of_stack(stack))).plans()
    if output == "json":
        print(json.dumps([plan.document() for plan in found], indent=2))
    else:
        print_rows([{"name": one.name, "default": one.is_default, "limits": len(one.limits)} for one in found], "plans")


def show(name: Name, stack: Stack = "local", output: Output = "table") -> None:
    """Show a plan."""
    from bedrock_meter.cli.tenants import plan_trail, planning
    from bedrock_meter.clock import iso
    from bedrock_meter.local.failures import BadInput
    from bedrock_meter.storage.tenants import PynamoDBTenantStore

    outputs = outputs_of_stack(stack)
    plan = next((one for one in PynamoDBTenantStore(tables_of(outputs)).plans() if one.name == name), None)
    if plan is None:
        raise BadInput(f"there is no plan {name}")
    document: dict[str, Any] = {
        **plan.document(),
        "tenants": list(planning(outputs, "").having(name)),
        "history": [
            {"at": iso(one.at_ms), "by": one.by, "what": one.what, "before": one.before, "after": one.after}
            for one in plan_trail(outputs).history(name, 20)
        ],
    }
    if output == "json":
        print(json.dumps(document, indent=2))
        return
    print(f"plan: {name}{' (default)' if plan.is_default else ''}")
    print_rows([{key: one[key] for key in ("name", "meter", "window", "max", "hard")} for one in plan.limits], "limits")
    print_rows([{"tenant": one} for one in document["tenants"]], "tenants")
    print_rows([{key: one[key] for key in ("at", "by", "what")} for one in document["history"]], "changes")


def apply_file(
    file: Annotated[Path, typer.Argument(help="Plans (YAML), for example a tenants file.", show_default=False)],
    stack: Stack = "local",
    by: By = None,
) -> None:
    """Load plans and install them."""
    from bedrock_meter.cli.tenants import load_plans, planning
    from bedrock_meter.local.failures import BadInput

    wanted = load_plans(file)
    if not wanted:
        raise BadInput(f"{file}: defines no plan: write plans: [{{name: gold, limits: [...]}}]")
    outputs = outputs_of_stack(stack)
    work = planning(outputs, caller(by).by)
    changed = work.put(wanted)
    settled = settle(work, {*changed, *(plan.name for plan in wanted)})
    for plan in wanted:
        print(f"{plan.name}: {'changed' if plan.name in changed else 'as it was'}")
    failed = [one for one in settled if one.problem]
    print(f"{len(settled):,} tenants: {sum(one.is_changed for one in settled):,} changed, {len(failed):,} failed")
    if failed:
        raise typer.Exit(1)


def settle(work: "Planning", names: set[str]) -> "list[Settled]":
    """Install plans for their tenants, with progress on stderr."""
    from bedrock_meter.cli.progress import Progress

    done = []
    with Progress() as progress:
        for one in work.settle(names):
            done.append(one)
            progress.tell(f"settled {one.number:,} of {one.of:,} tenants: {one.tenant}")
            if one.problem:
                progress.note(f"{one.tenant}: {one.problem}")
    return done


def remove(name: Name, stack: Stack = "local", by: By = None) -> None:
    """Remove a plan."""
    from bedrock_meter.cli.tenants import planning

    planning(outputs_of_stack(stack), caller(by).by).remove(name)
    print(f"{name}: removed")
