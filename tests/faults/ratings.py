"""What entries must cost: by the prices that they name, and after a run of ``rerate`` by that run's book."""

from collections.abc import Iterator

from tests.faults.schedules import KINDS, Book
from tests.faults.values import Item
from tests.faults.world import RatedAnew, World

_WEIGHTS = {"input": 3, "output": 15, "cache_read": 1, "cache_write": 4}


def is_rated(item: Item) -> bool:
    """Whether a success's cost is that of its counts, by the prices that it names.

    ``x3`` is a recorder's book, three times the first prices, ``x3?`` one that does not know every model;
    ``2/1795000000000/5/1`` that of a rerate: twice, and five times from an instant on, and 1 = it knows every model.
    """
    if "price_version" not in item:
        return False
    version = item["price_version"]["S"]
    if version.startswith("x"):
        return _costs(item, int(version.strip("x?")), knows_all=not version.endswith("?"))
    factor, since_ms, factor_since, knows_all = map(int, version.split("/"))
    return _costs(item, _factor(item, Book(factor, since_ms, factor_since, bool(knows_all))), knows_all=bool(knows_all))


def rated_anew(world: World) -> list[str]:
    """Return what is wrong after runs of ``rerate``: calls that one passed by, and those that are not as the last said.

    A run holds for what was in its range when it began; while it worked, a recorder may have raised a call, and another
    run may have come.
    """
    found = [finding for run in world.rated for finding in _passed_by(world, run)]
    if len(world.rated) < len(world.schedule.rerates):
        found.append(f"ratings: {len(world.rated)} of {len(world.schedule.rerates)} runs came to their end")
    if world.schedule.rerates:
        book = world.schedule.rerates[-1].book
        last = world.rated[-1]
        found += [
            f"ratings: {item['pk']['S']} does not cost what the book in force says"
            for item in world.rows("ledger").values()
            if _is_success(item, last) and not _costs(item, _factor(item, book), knows_all=book.knows_all)
        ]
    return found


def _passed_by(world: World, run: RatedAnew) -> Iterator[str]:
    held: dict[str, Item] = {}
    done: set[str] = set()
    for write in world.double.trace[: run.ended]:
        if write.table != "ledger":
            continue
        key = write.key[0]
        if write.sequence >= run.began and write.after is not None and _names(write.after, run):
            done.add(key)
        if write.sequence < run.began:
            if write.after is None:
                held.pop(key, None)
            else:
                held[key] = write.after
    for key, item in held.items():
        in_range = run.planned.from_ms <= int(item["event_ms"]["N"]) < run.planned.to_ms
        if in_range and _is_success(item, run) and not _names(item, run) and key not in done:
            yield f"ratings: {key} was passed by"


def _is_success(item: Item, run: RatedAnew) -> bool:
    """Whether it costs something and was sure to be kept while the run worked."""
    return "error" not in item and int(item["expires"]["N"]) * 1000 > run.at_ms


def _names(item: Item, run: RatedAnew) -> bool:
    factor, since_ms, factor_since, knows_all = run.planned.book
    return item.get("price_version") == {"S": f"{factor}/{since_ms}/{factor_since}/{int(knows_all)}"}


def _factor(item: Item, book: Book) -> int:
    return book.factor if int(item["event_ms"]["N"]) < book.since_ms else book.factor_since


def _costs(item: Item, factor: int, *, knows_all: bool) -> bool:
    cost = sum(int(item[name]["N"]) * _WEIGHTS[name] for name in KINDS) * factor
    is_unknown = not knows_all and item["profile"]["S"].endswith("x1")
    return item.get("cost_nano_usd") == (None if is_unknown else {"N": str(cost)})
