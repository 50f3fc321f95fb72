"""Every way to name what is called, each with the profile that the contract says it leads to."""

import random

from bedrock_meter.limits.destination import Called
from tests.faults.facts import ACCOUNT, FOREIGN, REGION, SONNET, UNKNOWN, Profile, base_of, leads_to


def draw_name(chance: random.Random, all_owned: list[Profile]) -> tuple[Called, Profile | None, str]:
    """Draw a way to name what is called; returns it with the profile that the contract says and the way's name."""
    here = [one for one in all_owned if one.region == REGION]
    region = chance.choice((REGION, REGION, ""))
    one = chance.choice(here or all_owned)
    model = one.model if one.model != UNKNOWN else SONNET
    ways = ["base id", "prefixed id", "system ARN", "foundation ARN", "ARN", "id", "ARN as model", "id as model"]
    how = chance.choice([*ways, *ways, "foreign ARN", "foreign id as model", "provisioned", "other account"])
    prefix = chance.choice(("us", "global", "eu", "jp"))
    named = {
        "base id": model,
        "prefixed id": f"{prefix}.{model}",
        "system ARN": f"arn:aws:bedrock:{REGION}:{ACCOUNT}:inference-profile/{prefix}.{model}",
        "foundation ARN": f"arn:aws:bedrock:{REGION}::foundation-model/{model}",
    }
    if how in named:
        is_here = region or how.endswith("ARN")  # An ARN says its Region itself.
        found = leads_to(named[how], here, REGION) if is_here else _anywhere(named[how], all_owned)
        return Called(model=named[how], region=region), found, how
    if how in ("ARN", "id"):
        said = one.arn if how == "ARN" else one.id
        return Called(profile=said, region=region), _callable(one, region), how
    if how in ("ARN as model", "id as model"):
        said = one.arn if how == "ARN as model" else one.id
        return Called(model=said, region=region), _callable(one, region), how
    if how == "foreign ARN":
        return Called(profile=FOREIGN.arn, region=region), None, how
    if how == "foreign id as model":
        return Called(model=FOREIGN.id, region=region), None, how
    if how == "other account":
        return Called(profile=one.arn.replace(ACCOUNT, "999999999999"), region=region), None, how
    return Called(model=f"arn:aws:bedrock:{REGION}:{ACCOUNT}:provisioned-model/abcdefghijkl"), None, how


def _anywhere(name: str, owned: list[Profile]) -> Profile | None:
    """What a name leads to where the caller does not say its Region: the only fitting one of all Regions."""
    found = {one.region: leads_to(name, owned, one.region) for one in owned}
    chosen = [one for one in found.values() if one is not None]
    model, prefix = base_of(name.rpartition("/")[2])
    fitting = [one for one in owned if one.model == model]
    if prefix:
        return chosen[0] if len(chosen) == 1 else None
    inside = [one for one in fitting if one.routing == "in-region"]
    return inside[0] if len(inside) == 1 else fitting[0] if not inside and len(fitting) == 1 else None


def _callable(one: Profile, region: str) -> Profile | None:
    return one if region in ("", one.region) else None
