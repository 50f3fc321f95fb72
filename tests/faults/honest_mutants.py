"""Wrong ways to keep a promise to honest callers, kept alive so that ``promise.py`` proves that it would notice.

Most of them are what this project did once: each was right for one token kind, one way to name a model and one price.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from bedrock_meter.invocations.record import Invocation
from bedrock_meter.limits import costs, estimates, reserving, seeding
from bedrock_meter.limits.destination import Called, Choice, Destination
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.limit import InstalledLimit, meter_code
from bedrock_meter.limits.reservations import named_in
from bedrock_meter.limits.scope import WHOLE
from bedrock_meter.pricing.models import base_model
from bedrock_meter.pricing.rating import Call
from bedrock_meter.storage.reservations import DynamoDBReservationStore
from bedrock_meter.tenants import selection
from bedrock_meter.usage.ledger import Change
from bedrock_meter.usage.recorder import Recorder
from tests.faults import killing
from tests.faults.promise import watch
from tests.faults.reservations import Design
from tests.faults.wire import isolate
from tests.faults.world import TABLES

SEEDS = 400
SHOWN_BY = {
    "kinds capped singly": 218,
    "caller's words": 12,
    "seeded at now": 59,
    "default tier": 89,
    "embeddings write": 34,
    "shadow asks for a price": 18,
}
"""A seed that shows what takes a search from the beginning: the quick tests begin with it."""


@contextmanager
def _kinds_capped_singly() -> Iterator[None]:
    """Each kind of tokens shrinks to its own estimate, and a sum to the sum of what is left."""

    def reported(self: Estimate, usage: Mapping[str, int]) -> Estimate:
        capped: dict[str, Any] = {}
        for kind, amount in usage.items():
            most = getattr(self, kind)
            capped[kind] = amount if most is None else min(most, amount)
        return replace(self, **capped)

    with patch.object(Estimate, "reported", reported):
        yield


@contextmanager
def _callers_words() -> Iterator[None]:
    """The price is that of the model as the caller names it, without a profile."""
    found = reserving.Reservations._destination

    def destination(self: reserving.Reservations, tenant: str, called: Called) -> Destination:
        real = found(self, tenant, called)
        model = called.model.rpartition("/")[2] if "." in called.model else real.model
        return replace(real, model=model, routing=None, profile=called.profile)

    with patch.object(reserving.Reservations, "_destination", destination):
        yield


@contextmanager
def _an_arn_is_a_model() -> Iterator[None]:
    """Any text in the field of the model is the name of a known model."""
    found = reserving.Reservations._destination

    def destination(self: reserving.Reservations, tenant: str, called: Called) -> Destination:
        real = found(self, tenant, called)
        if called.model and real.through is not None and base_model(called.model).model == called.model:
            return replace(real, model=called.model, routing=None)
        return real

    with patch.object(reserving.Reservations, "_destination", destination):
        yield


def _by_slot(installed: InstalledLimit) -> str:
    return meter_code(installed.meter) if installed.scope == WHOLE else installed.slot


@contextmanager
def _slot_reused() -> Iterator[None]:
    """What is held is named by the slot alone."""
    with ExitStack() as patched:
        for module in ("holds", "gauge", "reservations"):
            patched.enter_context(patch(f"bedrock_meter.limits.{module}.hold_key", _by_slot))
        yield


@contextmanager
def _an_error_record_releases() -> Iterator[None]:
    """The record of an attempt that was refused gives back what it names."""
    record = Recorder.record

    def and_release(self: Recorder, invocations: Sequence[Invocation], *more: Any) -> None:
        record(self, invocations, *more)
        client = self._store._client  # type: ignore[attr-defined]
        store = DynamoDBReservationStore(client, TABLES)
        for one in invocations:
            identity = named_in(one.metadata) if one.error_code is not None else ""
            held = store.find("acme", identity) if identity else None
            if held is not None and held.is_open(one.event_ms):
                store.change(held, held.released(), one.event_ms)

    with patch.object(Recorder, "record", and_release):
        yield


@contextmanager
def _only_tokens_settle() -> Iterator[None]:
    """A record without tokens is taken for an empty twin, whatever its model is billed by."""

    def brings(change: Change) -> bool:
        return bool(change.reservation and change.entry.error_code is None and change.entry.tokens.total)

    with patch("bedrock_meter.usage.settlement._brings_usage", brings):
        yield


@contextmanager
def _seeded_at_now() -> Iterator[None]:
    """A call that is dated ahead is seeded as if it were of the instant of the change."""
    with patch.object(seeding, "MAX_FUTURE_MS", 0):
        yield


@contextmanager
def _first_that_fits() -> Iterator[None]:
    """The first profile of the base model is taken, whatever its routing."""

    def chosen(model: str, owned: list[Choice]) -> Choice | None:
        return next((one for one in owned if model and one.model == base_model(model).model), None)

    with patch.object(selection, "_chosen", chosen):
        yield


@contextmanager
def _what_is_read_costs_input() -> Iterator[None]:
    """What may be written to a cache is priced as plain input."""
    kinds = costs.Costs._kinds

    def first(self: costs.Costs, estimate: Estimate, tenant: str, now_ms: int) -> Iterator[Call]:
        yield next(kinds(self, estimate, tenant, now_ms))

    with patch.object(costs.Costs, "_kinds", first):
        yield


@contextmanager
def _default_tier() -> Iterator[None]:
    """The tier that is asked for does not matter."""
    towards = estimates.Estimate.towards
    with patch.object(Estimate, "towards", lambda self, where: replace(towards(self, where), tier=None)):
        yield


@contextmanager
def _embeddings_write() -> Iterator[None]:
    """A model that writes no text is held for the output that its caller could not rule out."""
    with patch("bedrock_meter.limits.estimates.writes_text", lambda _: True):
        yield


@contextmanager
def _shadow_asks_for_a_price() -> Iterator[None]:
    """A limit that only looks refuses calls without a price."""
    needed = costs.Costs.needed

    def all_of(self: costs.Costs, estimate: Estimate, layout: Any, tenant: str, now_ms: int) -> Estimate:
        limits = tuple(replace(one, limit=replace(one.limit, shadow=False)) for one in layout.limits)
        return needed(self, estimate, replace(layout, limits=limits), tenant, now_ms)

    with patch.object(costs.Costs, "needed", all_of):
        yield


MUTANTS = (
    Design("kinds capped singly", patched=_kinds_capped_singly),
    Design("caller's words", patched=_callers_words),
    Design("an ARN is a model", patched=_an_arn_is_a_model),
    Design("slot reused", patched=_slot_reused),
    Design("an error record releases", patched=_an_error_record_releases),
    Design("only tokens settle", patched=_only_tokens_settle),
    Design("seeded at now", patched=_seeded_at_now),
    Design("first that fits", patched=_first_that_fits),
    Design("what is read costs input", patched=_what_is_read_costs_input),
    Design("default tier", patched=_default_tier),
    Design("embeddings write", patched=_embeddings_write),
    Design("shadow asks for a price", patched=_shadow_asks_for_a_price),
)


def death(design: Design, seeds: Iterable[int] = range(SEEDS)) -> killing.Death | None:
    """Return the first seed under which a wrong design is noticed, and what is noticed."""
    return killing.death(lambda seed: watch(seed, design).findings, seeds)


def _killed(number: int) -> killing.Death | None:
    isolate()
    return death(MUTANTS[number])


def show(pool: Executor) -> bool:
    """Run each wrong design until it dies; whether all did."""
    return killing.show(pool, MUTANTS, _killed)
