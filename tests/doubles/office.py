"""The admin API over memory, as whoever administers tenants meets it; and what they send."""

import itertools
from collections.abc import Mapping
from typing import Any

from bedrock_meter.api.admin import admin_api
from bedrock_meter.api.telling import Telling
from bedrock_meter.tenants.administration import Administration
from bedrock_meter.tenants.forgetting import Forgetting
from bedrock_meter.tenants.leaving import Leaving
from bedrock_meter.tenants.overview import Overviews
from tests.doubles.administration import MemoryTenants
from tests.doubles.http import CLAIM, Answer, request
from tests.doubles.memory import MemoryInstallationStore, MemorySuspensionStore, MemoryTables
from tests.doubles.records import NOW_MS
from tests.doubles.tenants import MemoryAudit, MemoryHistory, MemoryPrincipals

TENANTS = "/v1/admin/tenants"
ACME = f"{TENANTS}/acme"
NEW = {"if-none-match": "*"}
LIMIT = {"meter": "total_tokens", "window": "1h", "max": 1000}
FULL = {
    "timezone": "Europe/Berlin",
    "plan": "gold",
    "fail": "closed",
    "profiles": ["p1", {"id": "p2", "model": "a.model"}],
    "principals": ["arn:aws:iam::123456789012:role/acme-worker"],
    "limits": [
        LIMIT,
        {"meter": "requests", "window": "month@15", "max": "1k", "hard": True, "thresholds": [90]},
        {"meter": "usd", "window": "day", "max": 12.5, "models": ["anthropic.*"], "profiles": ["p1"]},
    ],
}


class Office:
    """The admin API over memory; the clock goes on with each look."""

    def __init__(self) -> None:
        self.tenants = MemoryTenants()
        self.gauges = MemoryTables()
        self.plan_audit = MemoryAudit()
        self.told: list[str] = []
        ticks = itertools.count(NOW_MS)
        suspensions, installation = MemorySuspensionStore(self.gauges), MemoryInstallationStore(self.gauges)
        self.ledger = MemoryPrincipals({})
        self.history = MemoryHistory(self.tenants.audit)
        self.passing_ms = self.clock_step_ms = 0
        self._ticks = ticks
        self.administration = administration = Administration(
            self.tenants,
            self.tenants,
            installation,
            suspensions,
            self.tenants.audit,
            self.plan_audit,
            clock=lambda: next(ticks),
            new_id=lambda: "x",
        )
        self.api = admin_api(
            administration,
            Overviews(self.tenants, installation.gauge, self.tenants, lambda: NOW_MS),
            Leaving(
                self.tenants,
                suspensions,
                self.tenants.audit,
                self.ledger,
                clock=self._later,
                installation=installation,
            ),
            Forgetting(self.tenants, suspensions, self.tenants.audit, self.history, self.ledger, clock=self._later),
            telling=Telling(self.told.append, lambda: None, lambda error: self.told.append(type(error).__name__)),
            tenant_claim=CLAIM,
            now=lambda: NOW_MS,
        )

    def _later(self) -> int:
        self.passing_ms += self.clock_step_ms
        return next(self._ticks) + self.passing_ms

    def ask(self, path: str, method: str = "GET", **more: Any) -> Answer:
        answer = self.api.resolve(request(method, path, **more), None)
        return Answer(answer["statusCode"], answer["headers"], answer["body"] or "")

    def put(self, document: object, headers: Mapping[str, str], path: str = ACME) -> Answer:
        return self.ask(path, "PUT", body=document, headers=headers)
