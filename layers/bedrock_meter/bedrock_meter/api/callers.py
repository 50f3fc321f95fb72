"""Who asks, as API Gateway has checked it, and which tenants that caller may see.

Two ways in. A service signs its requests: IAM has then allowed this very path, and decided by it which tenants the
service may see. A tenant's own user carries a token: the authorizer has checked issuer, audience and time, and nothing
about the path, so that the token's tenant is compared here. A request that carries neither was not checked by anybody
and is refused, whatever the template says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bedrock_meter.api.problems import Problem, tenant_not_found

READ_SCOPE = "bedrock-meter/read"
"""Scope of a token that may read what its tenant has left, holds and has used."""

RESERVE_SCOPE = "bedrock-meter/reserve"
"""Scope of a token that may also reserve, settle, extend and release: whoever may reserve can hold all of a tenant."""

ADMIN_SCOPE = "bedrock-meter/admin"
"""Scope of a token that may use the admin API; the gateway's route demands it as well."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        name: ARN of the principal, or ``jwt:`` and the token's subject: what an audit log names.
        by_token: Whether the caller came with a token and is bound to one tenant.
        tenant: The token's tenant; None where the token names none, and for signed requests.
        scopes: The token's scopes.
    """

    name: str
    by_token: bool = False
    tenant: str | None = None
    scopes: frozenset[str] = frozenset()

    def check_tenant(self, tenant: str) -> None:
        """Refuse a tenant that is not the token's.

        Raises:
            Problem: 404, the same as for a tenant that does not exist.
        """
        if self.by_token and self.tenant != tenant:
            raise tenant_not_found()

    def check_scope(self, method: str) -> None:
        """Refuse a token without a scope for a method of the quota API; IAM has decided for signed requests.

        The gateway's routes demand the same, so that neither a route that is missing nor a claim that the gateway reads
        otherwise opens anything.

        Raises:
            Problem: 403.
        """
        wanted = scopes_for(method)
        if self.by_token and not self.scopes.intersection(wanted):
            raise Problem(403, "Scope missing", f"The token needs the scope {' or '.join(wanted)}.")

    def check_admin(self) -> None:
        """Refuse a token without the scope for it; a signed request was allowed by IAM for the admin API's own paths.

        Raises:
            Problem: 403.
        """
        if self.by_token and ADMIN_SCOPE not in self.scopes:
            raise Problem(403, "Not an administrator", f"The token needs the scope {ADMIN_SCOPE}.")


def scopes_for(method: str) -> tuple[str, ...]:
    """Return the scopes of the quota API, one of which is enough for a method; what is no ``GET`` changes something."""
    return (READ_SCOPE, RESERVE_SCOPE) if method == "GET" else (RESERVE_SCOPE,)


def demands_scopes(setting: str) -> bool:
    """Return whether tokens need a scope, by the parameter ``JwtScopes``: all but ``ignored`` demands it."""
    return setting != "ignored"


def caller_of(event: Mapping[str, Any], tenant_claim: str) -> Caller:
    """Return who sent a request of an HTTP API (payload 2.0).

    Args:
        event: The event.
        tenant_claim: Name of the token's claim that holds the tenant's id.

    Raises:
        Problem: 401, nobody has checked this request.
    """
    context = event.get("requestContext") or {}
    authorizer = context.get("authorizer") or {}
    iam, token = authorizer.get("iam"), authorizer.get("jwt")
    if iam and iam.get("userArn"):
        return Caller(str(iam["userArn"]))
    claims = (token or {}).get("claims") or {}
    if claims.get("sub"):
        scopes = f"{claims.get('scope') or ''} {claims.get('scp') or ''}".translate({ord("["): " ", ord("]"): " "})
        return Caller(f"jwt:{claims['sub']}", True, claims.get(tenant_claim), frozenset(scopes.split()))
    raise Problem(401, "Not authenticated", "Sign the request (SigV4, service execute-api) or send a bearer token.")
