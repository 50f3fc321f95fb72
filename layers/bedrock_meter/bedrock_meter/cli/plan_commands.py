"""``plans``: limits that tenants share."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bedrock_meter.cli.administering import AdminApi, Api, Outdated, no_author
from bedrock_meter.cli.deployed import caller, outputs_of_stack, tables_of
from bedrock_meter.cli.options import Accept, By, DryRun, Output, Stack, Yes
from bedrock_meter.cli.terminal import print_rows

if TYPE_CHECKING:
    from bedrock_meter.cli.progress import Progress
    from bedrock_meter.tenants.planning import Planning, Settled
    from bedrock_meter.tenants.plans import Plan, Plans

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
        help="Load the plans of a tenants file, and install their limits for all tenants that have them: show every "
        "change first, and ask. Without a terminal nothing is changed (exit code 4), unless --accept or --yes says so. "
        "Plans that the file does not name stay. Checked against each tenant before the first change; over the admin "
        "API plan by plan. Can be repeated: run it again after an interruption, and what is as wanted is left alone.",
        epilog="Example: bedrock-meter plans apply plans.yaml --stack bedrock-meter",
    )(apply_file)
    plans.command(
        "remove",
        short_help="Remove a plan that no tenant has.",
        help="Remove a plan that no tenant has; one that is used stays (exit code 2). Asks first.",
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

    outputs = outputs_of_stack(stack)
    plan = _stored(name, outputs)
    return {
        **plan.document(),
        "tenants": list(planning(outputs, "").having(name)),
        "history": [
            {"at": iso(one.at_ms), "by": one.by, "what": one.what, "before": one.before, "after": one.after}
            for one in plan_trail(outputs).history(name, _CHANGES)
        ],
    }


def _stored(name: str, outputs: Mapping[str, str]) -> "Plan":
    from bedrock_meter.local.failures import BadInput
    from bedrock_meter.storage.tenants import PynamoDBTenantStore

    plan = next((one for one in PynamoDBTenantStore(tables_of(outputs)).plans() if one.name == name), None)
    if plan is None:
        raise BadInput(f"there is no plan {name}")
    return plan


def _shown_over(api: AdminApi, name: str) -> dict[str, Any]:
    """Return what the admin API says of a plan: not who has it, which takes a look at all tenants."""
    return {**api.plan(name), "history": list(islice(api.plan_history(name), _CHANGES))}


def apply_file(
    file: Annotated[Path, typer.Argument(help="Plans (YAML), for example a tenants file.", show_default=False)],
    stack: Stack = "local",
    api: Api = None,
    dry_run: DryRun = False,
    accept: Accept = None,
    yes: Yes = False,
    by: By = None,
    output: Output = "table",
) -> None:
    """Load plans and install them."""
    from bedrock_meter.cli.applying import Agreement, agreed, put_plans
    from bedrock_meter.cli.tenants import load_plans, planning
    from bedrock_meter.cli.ways import ApiWay, table_way
    from bedrock_meter.local.failures import BadInput
    from bedrock_meter.tenants.difference import Desired

    wanted, agreement = load_plans(file), Agreement(yes, accept, dry_run, output)
    if not wanted:
        raise BadInput(f"{file}: defines no plan: write plans: [{{name: gold, limits: [...]}}]")
    desired = Desired(plans=wanted)
    if api is not None:
        no_author(by)
        over = AdminApi(api)
        held, document = agreed(ApiWay(over), desired, agreement)
        _finish(apply_over(over, wanted, held.plans, output=output), document, output)
        return
    outputs = outputs_of_stack(stack)
    author = caller(by).by
    held, document = agreed(table_way(outputs, author), desired, agreement)
    work = planning(outputs, author)
    changed = put_plans(work, desired, held)
    settled = settle(work, {*changed, *(plan.name for plan in wanted)})
    failed = [one for one in settled if one.problem]
    if output == "table":
        for plan in wanted:
            print(f"{plan.name}: {'changed' if plan.name in changed else 'as it was'}")
        print(f"{len(settled):,} tenants: {sum(one.is_changed for one in settled):,} changed, {len(failed):,} failed")
    counts = {"tenants": len(settled), "failures": len(failed)}
    _finish([{"plan": one.name, "changed": one.name in changed, **counts} for one in wanted], document, output)


def _finish(results: Sequence[Mapping[str, Any]], document: Mapping[str, Any], output: str) -> None:
    from bedrock_meter.cli.applying import document_text

    if output == "json":
        print(document_text(document, results))
    if any(one["failures"] for one in results):
        raise typer.Exit(1)


def apply_over(api: AdminApi, wanted: "Sequence[Plan]", seen: "Plans", *, output: str) -> list[dict[str, Any]]:
    """Apply plans one by one; each is installed part by part, since an answer has to come in time.

    Args:
        api: Where.
        wanted: The plans.
        seen: All plans as they were when this was agreed to.
        output: With ``table`` a line for each is printed.

    Returns:
        What became of each: ``{plan, changed, tenants, failures}``.

    Raises:
        NotAgreed: A plan is not as it was; those before it are done.
    """
    from bedrock_meter.cli.applying import outdated_plan
    from bedrock_meter.cli.progress import Progress
    from bedrock_meter.cli.ways import same_plan
    from bedrock_meter.tenants.planning import plan_changes

    results: list[dict[str, Any]] = []
    present = dict(seen)
    for plan in wanted:
        try:
            with Progress() as progress:
                parts = api.put_plan(plan.document(), partial(same_plan, plan.name, dict(present)))
                *_, (is_changed, done) = _told(parts, plan.name, progress)
        except Outdated as problem:
            raise outdated_plan(plan.name) from problem
        found = {"plan": plan.name, "changed": is_changed, "tenants": done["tenants"], "failures": done["failures"]}
        results.append(found)
        present |= plan_changes([plan], present)  # the plan that was the default one is not any more
        if output == "table":
            print(
                f"{plan.name}: {'changed' if is_changed else 'as it was'}; {done['tenants']:,} tenants: "
                f"{done['changed']:,} changed, {done['failures']:,} failed"
            )
    return results


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


def remove(name: Name, stack: Stack = "local", api: Api = None, yes: Yes = False, by: By = None) -> None:
    """Remove a plan."""
    from bedrock_meter.cli.confirming import confirm
    from bedrock_meter.cli.tenants import planning

    if api is not None:
        no_author(by)
    found = AdminApi(api).plan(name) if api is not None else _stored(name, outputs_of_stack(stack)).document()
    is_default = " and is what tenants without a plan have" if found["default"] else ""
    confirm(f"Plan {name} has {len(found['limits'])} limits{is_default}. Remove it?", yes=yes)
    if api is not None:
        AdminApi(api).remove_plan(name)
    else:
        planning(outputs_of_stack(stack), caller(by).by).remove(name)
    print(f"{name}: removed")
