"""What all answers of our HTTP APIs have in common, around the Powertools resolver.

Whoever was not checked is refused before a route is looked for; every error is a problem document, also the last one;
every answer names its request. What API Gateway refuses itself (403 for a wrong signature, 401 for a wrong token, 429
for its own throttle, 503 when the function cannot be reached) has the gateway's own JSON body: an HTTP API offers no
way to change it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError

from bedrock_meter.api.callers import Caller, caller_of
from bedrock_meter.api.problems import Problem, tenant_not_found
from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.tenants.tenant import checked_tenant_id

REQUEST_ID = "X-Request-Id"
LONGEST_MS = 29_000
"""What there is for a request at most: the gateway gives up after 30 s, the template's functions end before."""


class Resolver:
    """Routes, and the manners around them.

    Attributes:
        routes: The Powertools resolver; modules add their routes to it.
    """

    def __init__(
        self,
        *,
        tenant_claim: str,
        unexpected: Callable[[Exception], None],
        is_admin: bool = False,
        demands_scopes: bool = True,
    ) -> None:
        """Make a resolver without routes.

        Args:
            tenant_claim: Claim of a token that names its tenant.
            unexpected: Told of an error that no route foresaw; the answer is 500 and says nothing about it.
            is_admin: Whether callers see all tenants. Then a token is let in by its scope, see ``callers.ADMIN_SCOPE``.
            demands_scopes: Whether a token needs a scope for the quota API; the admin API demands its own always.
        """
        self.routes = APIGatewayHttpResolver()
        self._context: Any = None
        self._tenant_claim = tenant_claim
        self._unexpected = unexpected
        self._is_admin = is_admin
        self._demands_scopes = demands_scopes
        self.routes.not_found(self._no_route)
        self.routes.exception_handler(Exception)(self._failed)

    def resolve(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Answer one request of an HTTP API (payload 2.0)."""
        self._context = context
        answer = self.routes.resolve(dict(event), context)
        request_id = (event.get("requestContext") or {}).get("requestId")
        if request_id:
            answer.setdefault("headers", {})[REQUEST_ID] = str(request_id)
        return answer

    @property
    def event(self) -> Mapping[str, Any]:
        """The request that is being answered."""
        return self.routes.current_event.raw_event

    @property
    def remaining_ms(self) -> int:
        """How long there still is for this request; outside Lambda as long as for a new one."""
        return LONGEST_MS if self._context is None else int(self._context.get_remaining_time_in_millis())

    @property
    def caller(self) -> Caller:
        """Who sent it.

        Raises:
            Problem: 401, nobody has checked this request; or why it may not come in.
        """
        caller = caller_of(self.event, self._tenant_claim)
        if self._is_admin:
            caller.check_admin()
        elif self._demands_scopes:
            caller.check_scope(str(self.event["requestContext"]["http"]["method"]))
        return caller

    def check_caller(self) -> None:
        """Refuse a request that nobody has checked; see ``caller``."""
        _ = self.caller

    def tenant(self, text: str) -> str:
        """Return the tenant of a path, if the caller may see it.

        Raises:
            Problem: 401, or the same 404 for a tenant of somebody else and an id that cannot be one.
        """
        caller = self.caller
        try:
            tenant = checked_tenant_id(text)
        except InvalidDefinition:
            raise tenant_not_found() from None
        if not self._is_admin:
            caller.check_tenant(tenant)
        return tenant

    def _no_route(self, _: NotFoundError) -> Response:  # type: ignore[type-arg]
        try:
            self.check_caller()
            http = self.event["requestContext"]["http"]
            table = [*self.routes._static_routes, *self.routes._dynamic_routes]
            methods = sorted({route.method for route in table if route.rule.match(str(self.event.get("rawPath")))})
            if methods:
                raise Problem(
                    405,
                    "Method not allowed",
                    f"{http['method']} is not one of them.",
                    headers={"Allow": ", ".join(methods)},
                )
            document = "/v1/admin/openapi.json" if self._is_admin else "/v1/openapi.json"
            raise Problem(404, "No such resource", f"GET {document} lists what there is.")
        except Problem as problem:
            return problem.response()

    def _failed(self, error: Exception) -> Response:  # type: ignore[type-arg]
        if not isinstance(error, Problem):
            self._unexpected(error)
            error = Problem(
                500, "Internal error", f"Something is wrong here. {REQUEST_ID} names this request in our log."
            )
        return error.response()
