"""From a seed to a schedule: what is logged, how often and in which batches it arrives, and what else happens.

Made with the standard library and ``random`` only. The sizes are small on purpose: faults live in interleavings, not in
volume; every now and then a batch meets the limits of a transaction (99, 100, 101 records) or is a whole log (5,000).
What people do with boosts and prices is drawn apart, so that a seed keeps its records when that changes.
"""

import random
from dataclasses import dataclass, field, replace

from tests.faults.schedules import (
    DAY_MS,
    EPOCH_MS,
    KINDS,
    MINUTE_MS,
    QUARTER_MS,
    Book,
    Boosted,
    Ceiling,
    Delivery,
    LimitChange,
    Line,
    Rerate,
    Schedule,
)

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")
METERS = ("total_tokens", "requests", "input_tokens", "output_tokens", "cost_usd")
_WINDOWS = ("1m", "5m", "1h", "1h", "3h", "1d", "7d", "day", "day", "week", "month", "month@15")
_BOUNDARIES = (QUARTER_MS, 3_600_000, DAY_MS)
_AFTER_MS = (30_000, 2 * 3_600_000, 9 * 3_600_000, DAY_MS, 3 * DAY_MS)
"""How long after the last delivery a boost may end."""

_AHEAD_MS = (240_000, 298_000, 300_000, 302_000, 330_000, 900_000)
"""How far the clock that dates a record may be ahead of its delivery: around the five minutes that are admitted."""


@dataclass
class _Maker:
    chance: random.Random
    start_ms: int
    span_ms: int
    profiles: list[str]
    lines: list[Line] = field(default_factory=list)

    def event_ms(self) -> int:
        chance = self.chance
        kind = chance.random()
        if kind < 0.55:
            return self.start_ms - chance.randrange(3 * MINUTE_MS)
        if kind < 0.75:
            return self.start_ms + chance.randrange(max(1, min(self.span_ms, 4 * MINUTE_MS)))
        if kind < 0.9:
            step = chance.choice(_BOUNDARIES)
            return self.start_ms // step * step + chance.choice((-1, 0, 1))
        return self.start_ms - chance.randrange(chance.choice((3_600_000, 6 * 3_600_000, DAY_MS, 20 * DAY_MS)))

    def call(self, number: int) -> None:
        chance = self.chance
        call, profile, event_ms = f"r{number}", chance.choice(self.profiles), self.event_ms()
        kind = chance.random()
        if kind < 0.04:
            text = chance.choice(('{"schemaType": "ModelInvocationLog", "requestId": "', "not json "))
            self.lines.append(Line(f"{call}-x", call, profile, event_ms, broken=f"{text}{number}"))
            return
        if 0.07 <= kind < 0.12:
            ahead_ms = self.start_ms + chance.randrange(self.span_ms) + chance.choice(_AHEAD_MS)
            some = (chance.randrange(2000), chance.randrange(2000), 0, chance.choice((0, 5)))
            self.lines.append(Line(f"{call}-a", call, profile, ahead_ms, some))
            return
        if kind < 0.07:
            event_ms = self.start_ms - 401 * DAY_MS if chance.random() < 0.5 else self.start_ms + 500 * DAY_MS
        base = [chance.choice((0, 1, chance.randrange(2000), chance.randrange(20000))) for _ in KINDS]
        variants: list[tuple[tuple[int, ...], str | None]] = [(tuple(base), None)]
        if chance.random() < 0.08:
            variants = [((0, 0, 0, 0), "ThrottlingException")]
        if chance.random() < 0.35:
            variants += chance.sample(
                [
                    ((0, 0, 0, 0), None),
                    ((base[0], 0, 0, 0), None),
                    (tuple(count + chance.randrange(500) for count in base), None),
                    ((0, 0, 0, 0), "ModelTimeoutException"),
                ],
                chance.randrange(1, 3),
            )
        for index, (counts, error) in enumerate(variants):
            at_ms = event_ms + (chance.choice((0, 0, 0, 1, 700)) if index else 0)
            four = (counts[0], counts[1], counts[2], counts[3])
            self.lines.append(Line(f"{call}-{index}", call, profile, at_ms, four, error))


def make(seed: int) -> Schedule:
    """Return the schedule of a seed; the same one each time."""
    chance = random.Random(seed)
    start_ms = EPOCH_MS + chance.randrange(400) * DAY_MS + chance.randrange(DAY_MS)
    if chance.random() < 0.3:
        step = chance.choice(_BOUNDARIES)
        start_ms = start_ms // step * step + chance.randrange(-3_000, 3_000)
    count = _count(chance)
    tenants = {
        f"t{at}": tuple(f"profile{at}x{no}" for no in range(chance.choice((1, 1, 2)))) for at in _tenants(chance)
    }
    owned = [profile for profiles in tenants.values() for profile in profiles]
    strangers = ["strangerprofile"] if chance.random() < 0.5 else []
    span_ms = chance.choice((5_000, 60_000, 5 * MINUTE_MS, 30 * MINUTE_MS, 3 * 3_600_000))
    maker = _Maker(chance, start_ms, span_ms, owned + strangers)
    for number in range(count):
        maker.call(number)
    total = 12_000 * count // len(tenants) or 1
    limits = {tenant: _ceilings(chance, total) for tenant in tenants}
    deliveries = _deliveries(chance, maker.lines, start_ms, span_ms)
    failed = tuple(one for one in deliveries if chance.random() < 0.3) if chance.random() < 0.2 else ()
    changes = tuple(
        LimitChange(_busy_moment(chance, deliveries), tenant, _changed(chance, limits[tenant], total))
        for tenant in tenants
        for _ in range(chance.choice((0, 0, 1, 1, 2)))
    )
    owner = chance.choice(list(tenants))
    mappings = tuple((start_ms + chance.randrange(span_ms), one, owner) for one in strangers if chance.random() < 0.5)
    made = Schedule(
        seed=seed,
        start_ms=start_ms,
        zone=chance.choice(ZONES),
        tenants=tenants,
        limits=limits,
        deliveries=deliveries,
        failed=failed,
        changes=changes,
        mappings=mappings,
        recorders=chance.choice((1, 2, 2, 3, 4)),
        redrivers=chance.choice((1, 1, 2)),
        evaluators=chance.choice((1, 2)),
        fault_rate=chance.choice((0.0, 0.02, 0.05, 0.1, 0.2)),
        fault_budget=chance.choice((3, 10, 25)),
        outage_ms=_outage(chance, deliveries) if chance.random() < 0.2 else None,
        skews_ms=chance.choice(((0,), (0, 40), (-1_500, 0, 1_500))),
        reports_all=chance.random() < 0.6,
        stream_loses=chance.choice((0.2, 1.0)) if chance.random() < 0.15 else 0.0,
        drains=chance.random() < 0.25,
    )
    boosting, rating = random.Random(f"boosts {seed}"), random.Random(f"rerates {seed}")
    if boosting.random() < 0.45:
        made = _with_boosts(boosting, made)
    return replace(made, rerates=_rerates(rating, made, span_ms)) if rating.random() < 0.35 else made


def _busy_moment(chance: random.Random, deliveries: tuple[Delivery, ...]) -> int:
    return chance.choice(deliveries).at_ms + chance.randrange(150)


def _outage(chance: random.Random, deliveries: tuple[Delivery, ...]) -> tuple[int, int]:
    from_ms = _busy_moment(chance, deliveries)
    return from_ms, from_ms + chance.choice((2_000, 30_000, 100_000, 400_000, 1_500_000))


def _count(chance: random.Random) -> int:
    kind = chance.random()
    if kind < 0.62:
        return chance.randrange(1, 10)
    if kind < 0.94:
        return chance.randrange(10, 35)
    if kind < 0.985:
        return chance.choice((99, 100, 101))
    return 5_000 if kind > 0.9995 else chance.randrange(101, 260)


def _tenants(chance: random.Random) -> range:
    return range(chance.choice((1, 1, 2, 3, 6)))


def _ceilings(chance: random.Random, total: int) -> tuple[Ceiling, ...]:
    windows = chance.sample(_WINDOWS, chance.choice((0, 1, 2, 3)))
    return _distinct(tuple(_ceiling(chance, window, total) for window in windows))


def _distinct(ceilings: tuple[Ceiling, ...]) -> tuple[Ceiling, ...]:
    """Two limits of a tenant must not be the same meter and window: they would have the same name."""
    return tuple({(one.meter, one.window): one for one in reversed(ceilings)}.values())


def _ceiling(chance: random.Random, window: str, total: int) -> Ceiling:
    meter = chance.choice(METERS)
    scale = max(1, total // 12_000) if meter == "requests" else total
    maximum = max(1, int(scale * chance.choice((0.1, 0.3, 0.6, 1.0, 2.0))))
    return Ceiling(meter, window, 0 if chance.random() < 0.03 else maximum, chance.random() < 0.4)


def _changed(chance: random.Random, current: tuple[Ceiling, ...], total: int) -> tuple[Ceiling, ...]:
    kept = [
        replace(one, maximum=max(1, one.maximum * chance.choice((1, 2)) // chance.choice((1, 3))))
        for one in current
        if chance.random() < 0.6
    ]
    return _distinct((*kept, *_ceilings(chance, total)))


def _deliveries(chance: random.Random, lines: list[Line], start_ms: int, span_ms: int) -> tuple[Delivery, ...]:
    """Deliver each line one to six times, shuffled and batched anew; some batches come again much later."""
    few = len(lines) > 300
    copies = [line for line in lines for _ in range(1 if few else chance.choice((1, 1, 1, 2, 2, 3, 6)))]
    chance.shuffle(copies)
    whole = chance.random() < 0.25
    made = []
    while copies:
        size = len(copies) if whole else min(len(copies), chance.choice((1, 2, 5, 10, 30, 100)))
        if few:
            size = min(len(copies), 1_000)
        batch, copies = copies[:size], copies[size:]
        at_ms = start_ms + chance.randrange(span_ms)
        made.append(Delivery(at_ms, tuple(batch)))
        if chance.random() < 0.2:
            made.append(Delivery(at_ms + chance.choice((0, 1, 40, 700_000)), tuple(batch)))
        if chance.random() < 0.04:
            made.append(Delivery(at_ms + chance.choice((3_600_000, 2 * DAY_MS, 40 * DAY_MS)), tuple(batch)))
    return tuple(sorted(made, key=lambda one: one.at_ms))


def _with_boosts(chance: random.Random, made: Schedule) -> Schedule:
    """Give limits boosts around the run: some from the beginning, some meanwhile, some ended early."""
    over_ms = made.deliveries[-1].at_ms

    def boosted(tenant: str, ceilings: tuple[Ceiling, ...], at_ms: int) -> tuple[Ceiling, ...]:
        calls = {line.call: line for line in made.lines.values() if line.profile in made.tenants[tenant]}
        tokens = sum(sum(line.counts) for line in calls.values())
        return tuple(
            replace(
                one, boosts=tuple(_boost(chance, at_ms, over_ms, usage) for _ in range(chance.choice((0, 1, 2, 4))))
            )
            for one in ceilings
            for usage in (len(calls) if one.meter == "requests" else tokens,)
        )

    limits = {tenant: boosted(tenant, held, made.start_ms) for tenant, held in made.limits.items()}
    changes = [
        replace(one, limits=boosted(one.tenant, one.limits, one.at_ms)) if chance.random() < 0.6 else one
        for one in made.changes
    ]
    for tenant in made.tenants:
        for _ in range(chance.choice((0, 1, 2))):
            at_ms = _busy_moment(chance, made.deliveries)
            before = [one for one in changes if one.tenant == tenant and one.at_ms < at_ms]
            held = max(before, key=lambda one: one.at_ms).limits if before else limits[tenant]
            wanted = _ended(held, at_ms) if chance.random() < 0.4 else boosted(tenant, held, at_ms)
            changes.append(LimitChange(at_ms, tenant, wanted))
    return replace(made, limits=limits, changes=tuple(changes), drains=chance.random() < 0.8)


def _boost(chance: random.Random, at_ms: int, over_ms: int, usage: int) -> Boosted:
    """Return one of about the size of what is used, so that it matters.

    Most end when all is delivered and windows still hold it, so that their ends are looked at by the sweep alone.
    """
    passed_ms = max(4_000, over_ms - at_ms)
    from_ms = at_ms + chance.choice((-DAY_MS, -1_000, 0, passed_ms // 4, passed_ms // 2))
    to_ms = chance.choice((from_ms + 1, from_ms + 500, *(over_ms + ms for ms in _AFTER_MS)))
    to_ms = max(from_ms + 1, to_ms)
    if chance.random() < 0.3:
        return Boosted(from_ms, to_ms, permille=chance.choice((100, 500, 1_000, 3_000)))
    return Boosted(from_ms, to_ms, amount=max(1, usage * chance.choice((1, 1, 2, 4)) // 2))


def _ended(ceilings: tuple[Ceiling, ...], at_ms: int) -> tuple[Ceiling, ...]:
    """End all boosts: what runs ends now, what is to come never begins."""
    return tuple(
        replace(
            one,
            boosts=tuple(
                boost._replace(to_ms=min(boost.to_ms, at_ms)) for boost in one.boosts if boost.from_ms < at_ms
            ),
        )
        for one in ceilings
    )


def _rerates(chance: random.Random, made: Schedule, span_ms: int) -> tuple[Rerate, ...]:
    """Rate some calls anew meanwhile, by books that are dearer, cheaper or know less, and everything at the end."""
    moments = [_busy_moment(chance, made.deliveries) + chance.choice((0, 200, 3_000)) for _ in range(3)]
    meanwhile = sorted(moments[: chance.choice((0, 1, 1, 2, 3))])
    early_ms, late_ms = made.start_ms - 450 * DAY_MS, made.start_ms + 450 * DAY_MS
    runs = []
    for at_ms in meanwhile:
        from_ms = chance.choice((early_ms, early_ms, made.start_ms - MINUTE_MS))
        to_ms = chance.choice((late_ms, late_ms, made.start_ms + span_ms // 2))
        runs.append(Rerate(at_ms, from_ms, to_ms, _book(chance, made.start_ms, knows_all=chance.random() < 0.7)))
    return (*runs, Rerate(late_ms, early_ms, late_ms, _book(chance, made.start_ms, knows_all=True)))


def _book(chance: random.Random, start_ms: int, *, knows_all: bool) -> Book:
    since_ms = start_ms + chance.choice((-DAY_MS, -MINUTE_MS, 0, MINUTE_MS))
    return Book(chance.choice((0, 1, 2, 7)), since_ms, chance.choice((1, 3, 11)), knows_all)
