"""What the quota and reservation routes say of usage without a price that denies: which models, and what to do."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from bedrock_meter.clock import iso
from bedrock_meter.limits.gauge import Gauge, Reading, read
from bedrock_meter.limits.status import denied_by_unpriced
from bedrock_meter.storage.dynamodb import AWS_ERRORS, failure_name

if TYPE_CHECKING:
    from bedrock_meter.api.reports import Reports

REMEMBER_MS = 60_000
REMEMBERED_TENANTS = 1_000
PAGES = 4
"""Pages of roll-ups that one answer reads at most, of at most 1 MB each."""

Known = tuple[int, tuple[tuple[str, int], ...], dict[str, Any]]


class UnpricedUsage:
    """Looks up what has no price, only where a limit denies for it, and at most once a minute for a tenant."""

    def __init__(self, reports: "Reports", *, failed: Callable[[str], None]) -> None:
        """Remember nothing yet.

        Args:
            reports: Reads roll-ups.
            failed: Told the error code when they cannot be read.
        """
        self._reports = reports
        self._failed = failed
        self._known: dict[str, Known] = {}

    def document(self, gauge: Gauge, now_ms: int) -> dict[str, Any] | None:
        """Return ``{models, complete, commands}`` of what stands in the way; None where no limit denies for it.

        ``models`` are the latest ones, at most 5, ``{model}`` or, where no model is known, ``{model: null, profile}``;
        ``complete`` is false where there may be others. ``commands`` are what an operator does about it, in this order.
        Where the roll-ups cannot be read, no model is named, and the next answer tries again.
        """
        denying = denied_by_unpriced(read(gauge, now_ms))
        if not denying:
            return None
        limits = tuple((one.limit.name, one.limit.version) for one in denying)
        known = self._known.get(gauge.tenant)
        if known is not None and known[1] == limits and 0 <= now_ms - known[0] < REMEMBER_MS:
            return known[2]
        try:
            found = self._find(gauge.tenant, denying, now_ms)
        except AWS_ERRORS as error:
            self._failed(failure_name(error))
            return {"models": [], "complete": False, "commands": []}
        if gauge.tenant not in self._known and len(self._known) >= REMEMBERED_TENANTS:
            self._known.pop(next(iter(self._known), ""), None)
        self._known[gauge.tenant] = now_ms, limits, found
        return found

    def _find(self, tenant: str, readings: Sequence[Reading], now_ms: int) -> dict[str, Any]:
        from bedrock_meter.limits.unpriced import find_unpriced, range_of_all

        pages = self._reports.pages(tenant, *range_of_all(readings, now_ms), newest_first=True)
        found = find_unpriced(readings, pages, now_ms, max_pages=PAGES)
        # Calls to come have a price once their profile names a model; what was recorded, by a price of that profile.
        first = ["bedrock-meter tenants apply FILE"] if any(one.profile for one in found.unpriced) else []
        return {
            "models": [
                {"model": None, "profile": one.profile} if one.profile else {"model": one.model}
                for one in found.unpriced
            ],
            "complete": found.is_complete,
            "commands": [
                *first,
                "bedrock-meter prices apply FILE",
                f"bedrock-meter rerate --tenant {tenant} --from {iso(found.from_ms)} --to {iso(now_ms)}",
            ],
        }
