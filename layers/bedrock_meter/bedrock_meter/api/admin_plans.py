"""Plans in the admin API: read, changed under a version, installed for who has them, taken away.

A plan's limits are installed tenant by tenant, which can take longer than a request may. So an answer says how far it
is, and where to go on; from the beginning is right as well, whatever was done before.
"""

from collections.abc import Mapping, Sequence

from aws_lambda_powertools.event_handler import Response

from bedrock_meter.api.admin_protocol import (
    MAX_BODY_BYTES,
    carry_out,
    change_document,
    json_answer,
    no_content,
    page_of,
    precondition,
)
from bedrock_meter.api.cursors import read_key, refused, write_key
from bedrock_meter.api.problems import Problem, invalid
from bedrock_meter.api.requests import body_bytes, json_object, query
from bedrock_meter.api.resolver import Resolver
from bedrock_meter.api.telling import Telling
from bedrock_meter.tenants.administration import Administration, Changed
from bedrock_meter.tenants.planning import Installed
from bedrock_meter.tenants.plans import Plan, by_name, is_plan_name, parse_plan
from bedrock_meter.tenants.tenant import is_tenant_id

PLANS = "/v1/admin/plans"
MARGIN_MS = 9_000
"""No further tenant is begun with less time than this: one whose window holds much takes seconds."""

_COUNTS = ("of", "settled", "changed", "failures")


def add_plans(api: Resolver, administration: Administration, telling: Telling) -> None:
    """Add the routes.

    Args:
        api: Gets them.
        administration: Reads and changes plans.
        telling: Who is told what went wrong.
    """
    _add_readings(api, administration, telling)

    @api.routes.put(f"{PLANS}/<name>")
    def put(name: str) -> Response:  # type: ignore[type-arg]
        api.check_caller()
        query(api.event, ())
        is_expected, work = precondition(api.event), administration.planning(api.caller.name)
        document = json_object(body_bytes(api.event, MAX_BODY_BYTES))
        _check_name(name)
        if document.get("name", name) != name:
            raise invalid("name", "must be the plan of the path, or missing")

        def change() -> tuple[Plan, Installed]:
            wanted = parse_plan({**document, "name": name})

            def check(held: Mapping[str, Plan]) -> None:
                present = held.get(name)
                # What is there already overwrites nothing: a change whose answer got lost can be sent again.
                if present != wanted and not is_expected(None if present is None else present.version):
                    raise Changed

            work.put([wanted], check=check)
            plan = _plan(administration, name)
            return plan, work.install(name, Installed(), _has_time)

        return _installed(*carry_out(change, telling, what="plan", missing=plan_not_found))

    @api.routes.post(f"{PLANS}/<name>/installation")
    def install(name: str) -> Response:  # type: ignore[type-arg]
        api.check_caller()
        parameters = query(api.event, ("cursor",))
        work = administration.planning(api.caller.name)
        _check_name(name)
        version, done = _position(parameters.get("cursor"), name)

        def change() -> tuple[Plan, Installed]:
            plan = _plan(administration, name)
            if version not in {"", plan.version}:
                raise Changed
            return plan, work.install(name, done, _has_time)

        return _installed(*carry_out(change, telling, what="plan", missing=plan_not_found))

    @api.routes.delete(f"{PLANS}/<name>")
    def remove(name: str) -> Response:  # type: ignore[type-arg]
        api.check_caller()
        query(api.event, ())
        is_expected, work = precondition(api.event), administration.planning(api.caller.name)
        _check_name(name)

        def check(held: Mapping[str, Plan]) -> None:
            if name in held and not is_expected(held[name].version):
                raise Changed

        def change() -> bool:
            work.remove(name, check=check)
            return True

        carry_out(change, telling, what="plan", missing=plan_not_found)
        return no_content()

    def _has_time() -> bool:
        return api.remaining_ms > MARGIN_MS


def _add_readings(api: Resolver, administration: Administration, telling: Telling) -> None:
    @api.routes.get(PLANS)
    def plans() -> Response:  # type: ignore[type-arg]
        api.check_caller()
        query(api.event, ())
        found = carry_out(administration.plans, telling)
        return json_answer({"plans": [plan.document() for plan in found]})

    @api.routes.get(f"{PLANS}/<name>")
    def plan(name: str) -> Response:  # type: ignore[type-arg]
        api.check_caller()
        query(api.event, ())
        found = carry_out(lambda: _plan(administration, name), telling, missing=plan_not_found)
        return json_answer(found.document(), _tag(found))

    @api.routes.get(f"{PLANS}/<name>/audit")
    def audit(name: str) -> Response:  # type: ignore[type-arg]
        api.check_caller()
        limit, after = page_of(api, ("plan-audit", name), 1)
        _check_name(name)
        found, last = carry_out(lambda: administration.plan_audit.page(name, after, limit), telling)
        following = write_key(last, ("plan-audit", name)) if last else None
        return json_answer({"plan": name, "changes": [change_document(one) for one in found], "next": following})


def plan_not_found() -> Problem:
    """Return the answer for a plan that is not there."""
    return Problem(404, "Not found", "There is no such plan.")


def _plan(administration: Administration, name: str) -> Plan:
    found = by_name(administration.plans()).get(name)
    if found is None:
        raise plan_not_found()
    return found


def _check_name(name: str) -> None:
    if not is_plan_name(name):
        raise plan_not_found()


def _tag(plan: Plan) -> dict[str, str]:
    return {"ETag": f'"{plan.version}"'}


def _installed(plan: Plan, done: Installed) -> Response:  # type: ignore[type-arg]
    installation = {
        "tenants": done.of,
        "settled": done.settled,
        "changed": done.changed,
        "failed": [{"tenant": one.tenant, "problem": one.problem} for one in done.failed],
        "failures": done.failures,
        "finished": done.is_finished,
        "next": None if done.is_through else _cursor(plan, done),
    }
    document = {"plan": plan.document(), "installation": installation}
    return json_answer(document, _tag(plan), 200 if done.is_finished else 202)


def _cursor(plan: Plan, done: Installed) -> str:
    counts = (str(getattr(done, name)) for name in _COUNTS)
    return write_key((plan.version, done.after, *counts), _bound_to(plan.name))


def _position(cursor: str | None, name: str) -> tuple[str, Installed]:
    """Return of which version of the plan an installation is, empty for whichever there is, and how far."""
    if cursor is None:
        return "", Installed()
    version, after, *counts = read_key(cursor, 2 + len(_COUNTS), _bound_to(name))
    if not is_tenant_id(after) or not all(one.isdigit() and len(one) <= 9 for one in counts):
        raise refused()
    of, settled, changed, failures = map(int, counts)
    return version, Installed(after, of, settled, changed, failures)


def _bound_to(name: str) -> Sequence[str]:
    return "installation", name
