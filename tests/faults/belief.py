"""What a consumer of the events believes of each limit, going by version and time, and whether it is true."""

from tests.faults.installed import Installed, buckets_of, layout
from tests.faults.naive import attribute
from tests.faults.world import World

_THROTTLED = "Tenant Throttled"


def levels(world: World) -> list[str]:
    """Return where what a consumer believes is not true: the newest event of a limit, by version and time."""
    now_ms = world.scheduler.now_ms
    found = []
    belief: dict[tuple[str, str], tuple[tuple[int, str], str, int]] = {}
    for kind, detail in world.accepted:
        if kind not in {_THROTTLED, "Tenant Throttle Lifted"}:
            continue
        order = detail["limit"]["version"], detail["evaluated_at"]
        key = detail["tenant"], detail["limit"]["name"]
        if key not in belief or order >= belief[key][0]:
            belief[key] = order, kind, detail["limit"]["version"]
    for tenant in world.schedule.tenants:
        gauge = world.rows("quotas").get((tenant, "GAUGE"))
        names = set()
        for installed in layout(gauge) if gauge is not None else ():
            name = f"{installed.meter}-{installed.window.text}".replace("@", "-")
            names.add(name)
            maximum = installed.maximum_at(now_ms)
            buckets = installed.window.paid(buckets_of(world, tenant, installed))
            used = installed.window.used(buckets, now_ms, hard=installed.hard)
            _, kind, version = belief.get((tenant, name), ((0, ""), "nothing", 0))
            believed = kind == _THROTTLED
            if used >= maximum and not (believed and version == installed.version):
                found.append(f"levels: {tenant} {name} is throttled, the consumer heard {kind}")
            is_over = believed and maximum and used * 100 < 95 * maximum
            if is_over and not _was_reached(world, tenant, installed, maximum):
                found.append(f"levels: {tenant} {name} is at {used} of {maximum}, the consumer heard {kind}")
        found += [
            f"levels: {tenant} {name} is removed, the consumer heard {kind}"
            for (whose, name), (_, kind, _version) in belief.items()
            if whose == tenant and name not in names and kind == _THROTTLED
        ]
    return found


def _was_reached(world: World, tenant: str, installed: Installed, maximum: int) -> bool:
    """Whether a calendar window had cost its maximum before it was rated anew: its throttle stays until it ends."""
    if installed.meter != "cost_usd" or installed.window.sub_ms or not world.rated:
        return False
    name = attribute(installed.slot, installed.window.bucket(world.scheduler.now_ms))
    return any(
        write.key == (tenant, "GAUGE") and write.after and int(write.after.get(name, {"N": "0"})["N"]) >= maximum
        for write in world.double.trace
    )
