"""A schedule: what is logged, how often and in which batches it arrives, and what else happens.

Everything here is plain data, so that a schedule can be printed, cut down and kept as a test. ``seeds.py`` makes them.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

DAY_MS = 86_400_000
MINUTE_MS = 60_000
QUARTER_MS = 900_000
EPOCH_MS = 1_795_000_020_000
"""A moment in November 2026."""

KINDS = ("input", "output", "cache_read", "cache_write")


@dataclass(frozen=True)
class Line:
    """One record as it is logged; two lines of one call are twins.

    Attributes:
        id: Unique per line, the log event's id.
        call: The request id.
        counts: Tokens by kind, in the order of ``KINDS``.
        broken: A line that cannot be read, as it is.
    """

    id: str
    call: str
    profile: str
    event_ms: int
    counts: tuple[int, int, int, int] = (0, 0, 0, 0)
    error: str | None = None
    broken: str | None = None


@dataclass(frozen=True)
class Delivery:
    """One batch that arrives at ``at_ms``; it is delivered again until it is taken."""

    at_ms: int
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Ceiling:
    """A limit as a person defines it; without a name it has the one that follows from meter and window."""

    meter: str
    window: str
    maximum: int
    hard: bool = False
    boosts: tuple["Boosted", ...] = ()
    models: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    shadow: bool = False
    name: str = ""


class Boosted(NamedTuple):
    """More of a limit in [from_ms, to_ms): an amount, and thousandths of its maximum."""

    from_ms: int
    to_ms: int
    amount: int = 0
    permille: int = 0


class Book(NamedTuple):
    """Prices of calls made before ``since_ms`` and from then on, as factors; ``knows_all`` = every model has one."""

    factor: int
    since_ms: int
    factor_since: int
    knows_all: bool


@dataclass(frozen=True)
class Rerate:
    """A person rates the calls of [from_ms, to_ms) anew by ``book``, from ``at_ms`` on."""

    at_ms: int
    from_ms: int
    to_ms: int
    book: Book


@dataclass(frozen=True)
class LimitChange:
    """A tenant's limits become these at ``at_ms``."""

    at_ms: int
    tenant: str
    limits: tuple[Ceiling, ...]


@dataclass(frozen=True)
class Schedule:
    """All that happens under a seed."""

    seed: int
    start_ms: int
    zone: str
    tenants: dict[str, tuple[str, ...]]
    limits: dict[str, tuple[Ceiling, ...]]
    deliveries: tuple[Delivery, ...]
    failed: tuple[Delivery, ...] = ()
    """Deliveries that Lambda has given up before: they lie in the failure store."""

    changes: tuple[LimitChange, ...] = ()
    mappings: tuple[tuple[int, str, str], ...] = ()
    """(at, profile, tenant): a profile gets its owner while it is used."""

    rerates: tuple[Rerate, ...] = ()
    """In order of time; the last one rates everything when all is recorded."""

    recorders: int = 2
    redrivers: int = 1
    evaluators: int = 1
    fault_rate: float = 0.0
    fault_budget: int = 0
    outage_ms: tuple[int, int] | None = None
    """From when to when DynamoDB answers nothing but status 500."""

    skews_ms: tuple[int, ...] = (0,)
    reports_all: bool = True
    """Whether a cancelled transaction shows all of its reasons."""

    stream_in_order: bool = False
    """Whether the stream delivers once and in order; it is not promised to."""

    stream_loses: float = 0.0
    """Which part of the stream's hints never arrives; 1 = the stream is off."""

    drains: bool = False
    """Whether time runs on afterwards until nothing is due any more."""

    @property
    def lines(self) -> dict[str, Line]:
        """All lines that are delivered, by id."""
        return {line.id: line for delivery in (*self.deliveries, *self.failed) for line in delivery.lines}

    @cached_property
    def first_ms(self) -> dict[str, int]:
        """When each line is delivered for the first time."""
        first = {line.id: self.start_ms for delivery in self.failed for line in delivery.lines}
        for delivery in self.deliveries:
            for line in delivery.lines:
                first[line.id] = min(delivery.at_ms, first.get(line.id, delivery.at_ms))
        return first
