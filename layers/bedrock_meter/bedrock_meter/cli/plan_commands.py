"""``plans``: limits that tenants share."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bedrock_meter.cli.administering import AdminApi, Api, no_author
from bedrock_meter.cli.deployed import caller, outputs_of_stack, tables_of
from bedrock_meter.cli.options import By, Output, Stack
from bedrock_meter.cli.terminal import print_rows

if TYPE_CHECKING:
    from bedrock_meter.cli.progress import Progress
    from bedrock_meter.tenants.planning import Planning, Settled
    from bedrock_meter.tenants.plans import Plan

_CHANGES = 20

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
        "the file does not name stay. Checked against each tenant before the first change; over the admin API plan by "
        "plan. Can be repeated: run it again after an interruption, and what is as wanted is left alone.",
        epilog="Example: bedrock-meter plans apply plans.yaml --stack bedrock-meter",
    )(apply_file)
    plans.command(
        "remove",
        short_help="Remove a plan that no tenant has.",
        help="Remove a plan that no tenant has; one that is used stays (exit code 2).",
        epilog="Example: bedrock-meter plans remove trial --stack bedrock-meter",
    )(remove)
    app.add_typer(plans, name="plans")


def list_all(stack: Stack = "local", api: Api = None, output: Output = "table") -> None:
    """List all plans."""
    from bedrock_meter.storage.tenants import PynamoDBTenantStore

    found: Sequence[Mapping[str, Any]]
    if api is not None:
        found = AdminApi(api).plans()
    else:
        found = [plan.document() for plan in PynamoDBTenantStore(tables_of(outputs_of_stack(stack))).plans()]
    if output == "json":
        print(json.dumps(found, indent=2))
    else:
        rows = [{"name": one["name"], "default": one["default"], "limits": len(one["limits"])} for one in found]
        print_rows(rows, "plans")


def show(name: Name, stack: Stack = "local", api: Api = None, output: Output = "table") -> None:
    """Show a plan."""
    document = _shown(name, stack) if api is None else _shown_over(AdminApi(api), name)
    if output == "json":
        print(json.dumps(document, indent=2))
        return
    print(f"plan: {name}{' (default)' if document['default'] else ''}")
    names = ("name", "meter", "window", "max", "hard")
    print_rows([{key: one[key] for key in names} for one in document["limits"]], "limits")
    if "tenants" in document:
        print_rows([{"tenant": one} for one in document["tenants"]], "tenants")
    print_rows([{key: one[key] for key in ("at", "by", "what")} for one in document["history"]], "changes")


def _shown(name: str, stack: str) -> dict[str, Any]:
    from bedrock_meter.cli.tenants import plan_trail, planning
    from bedrock_meter.clock import iso
    from bedrock_meter.local.failures import BadInput
    from bedrock_meter.storage.tenants import PynamoDBTenantStore

    outputs = outputs_of_stack(stack)
    plan = next((one for one in PynamoDBTenantStore(tables_of(outputs)).plans() if one.name == name), None)
    if plan is None:
        raise BadInput(f"there is no plan {name}")
    return {
        **plan.document(),
        "tenants": list(planning(outputs, "").having(name)),
        "history": [
            {"at": iso(one.at_ms), "by": one.by, "what": one.what, "before": one.before, "after": one.after}
            for one in plan_trail(outputs).history(name, _CHANGES)
        ],
    }


def _shown_over(api: AdminApi, name: str) -> dict[str, Any]:
    """Return what the admin API says of a plan: not who has it, which takes a look at all tenants."""
    return {**api.plan(name), "history": list(islice(api.plan_history(name), _CHANGES))}


def apply_file(
    file: Annotated[Path, typer.Argument(help="Plans (YAML), for example a tenants file.", show_default=False)],
    stack: Stack = "local",
    api: Api = None,
    by: By = None,
) -> None:
    """Load plans and install them."""
    from bedrock_meter.cli.tenants import load_plans, planning
    from bedrock_meter.local.failures import BadInput

    wanted = load_plans(file)
    if not wanted:
        raise BadInput(f"{file}: defines no plan: write plans: [{{name: gold, limits: [...]}}]")
    if api is not None:
        no_author(by)
        apply_over(AdminApi(api), wanted)
        return
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


def apply_over(api: AdminApi, wanted: "Sequence[Plan]") -> None:
    """Apply plans one by one; each is installed part by part, since an answer has to come in time.

    Raises:
        Exit: 1, where a tenant could not be changed.
    """
    from bedrock_meter.cli.progress import Progress

    failures = 0
    for plan in wanted:
        with Progress() as progress:
            *_, (is_changed, done) = _told(api.put_plan(plan.document()), plan.name, progress)
        failures += done["failures"]
        print(
            f"{plan.name}: {'changed' if is_changed else 'as it was'}; {done['tenants']:,} tenants: "
            f"{done['changed']:,} changed, {done['failures']:,} failed"
        )
    if failures:
        raise typer.Exit(1)


def _told(
    parts: Iterator[tuple[bool, Mapping[str, Any]]], name: str, progress: "Progress"
) -> Iterator[tuple[bool, Mapping[str, Any]]]:
    for is_changed, done in parts:
        reached = done["settled"] + done["failures"]
        progress.tell(f"settled {reached:,} of {done['tenants']:,} tenants: {name}")
        for one in done["failed"]:
            progress.note(f"{one['tenant']}: {one['problem']}")
        yield is_changed, done


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


def remove(name: Name, stack: Stack = "local", api: Api = None, by: By = None) -> None:
    """Remove a plan."""
    from bedrock_meter.cli.tenants import planning

    if api is not None:
        no_author(by)
        AdminApi(api).remove_plan(name)
    else:
        planning(outputs_of_stack(stack), caller(by).by).remove(name)
    print(f"{name}: removed")
