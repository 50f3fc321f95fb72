"""Who changed what of a tenant: an entry for every change, written before the change itself.

Before, because the other order would leave changes that nobody can explain after a crash. So an entry says what
somebody set out to do; whether it is so now is for ``tenants show`` to say. Doing it again writes another entry only if
there was something left to change.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bedrock_meter.limits.limit import Limit
from bedrock_meter.tenants.tenant import TenantDefinition


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change of a tenant.

    Attributes:
        tenant: Whose.
        at_ms: When.
        by: The caller's ARN, or the name under which it was done.
        what: The change in a word or two: ``add``, ``apply``, ``suspend``, ``map`` and so on.
        before: The part that changes, as it was; None = there was none.
        after: The same as it is to be; None = gone.
    """

    tenant: str
    at_ms: int
    by: str
    what: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


class AuditTrail(Protocol):
    """Where entries are kept. Nothing overwrites one."""

    def record(self, entry: AuditEntry) -> None:
        """Keep an entry. Two of the same instant are two."""

    def history(self, tenant: str, limit: int | None = None) -> Iterator[AuditEntry]:
        """Yield a tenant's entries, newest first; at most ``limit``."""

    def page(
        self, tenant: str, after: tuple[str, ...] | None, limit: int
    ) -> tuple[Sequence[AuditEntry], tuple[str, ...] | None]:
        """Return some of a tenant's entries, newest first, and the key to go on behind; None at the end."""


def definition_document(
    definition: TenantDefinition | None, limits: Sequence[Limit], reserves: bool = False
) -> dict[str, Any] | None:
    """Return a definition with its limits as entries and ``tenants show`` spell it; None where there is none."""
    if definition is None:
        return None
    in_force, own = [limit_words(limit) for limit in limits], [limit_words(limit) for limit in definition.limits]
    return {
        "name": definition.name,
        "timezone": definition.timezone,
        "plan": definition.plan,
        "fail": definition.fail_policy,
        "profiles": [
            {"id": one.id, "model": one.model, "routing": one.routing, "geography": one.geography, "tagged": one.tagged}
            for one in definition.profiles
        ],
        "principals": list(definition.principals),
        "limits": in_force,
        # Said only where the plan has a part in it.
        **({"own_limits": own} if own != in_force else {}),
        **({"removed_limits": list(definition.removes)} if definition.removes else {}),
        # Said only of one that was removed: so that coming back is a change, and noted.
        **({"removed": True} if definition.removed_ms is not None else {}),
        "reserves": reserves,
    }


def limit_words(limit: Limit) -> str:
    """Return a limit in the form in which ``--limit`` takes it."""
    parts = {
        "name": limit.name,
        "meter": str(limit.meter),
        "window": str(limit.window),
        "max": str(limit.meter.shown(limit.maximum)),
        "hard": "true" if limit.hard else "false",
        "thresholds": "+".join(str(one) for one in limit.thresholds),
        "models": "+".join(limit.scope.models),
        "profiles": "+".join(limit.scope.profiles),
        "shadow": "true" if limit.shadow else "",
        "fail": limit.fail or "",
        "when_unpriced": limit.when_unpriced or "",
    }
    return ",".join(f"{key}={value}" for key, value in parts.items() if value)


def difference(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return both with only those parts that are not the same; (None, None) if nothing changes."""
    if before is None or after is None:
        return (None if before is None else dict(before)), (None if after is None else dict(after))
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if not names:
        return None, None
    return {name: before.get(name) for name in names}, {name: after.get(name) for name in names}
