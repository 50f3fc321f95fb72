"""How the meter is built: the product, and the places where a wrong design differs from it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from bedrock_meter.alerts.sweep import Worklist
from bedrock_meter.limits.installation import install_limits
from bedrock_meter.usage.ingestion import Ingestion
from bedrock_meter.usage.redrive import Redrive
from bedrock_meter.usage.rerating import Rerating
from tests.faults.world import World


@dataclass(frozen=True)
class Design:
    """How the meter is built. The default is the product; mutants replace parts of it.

    Attributes:
        ingestion: Takes the product's ingestion and returns the one to use.
        worklist: The same for the evaluation.
        redrive: The same for what takes failed deliveries in again.
        install: Changes a tenant's limits.
        rerating: Takes the product's rating anew and returns the one to use.
        patched: What is different while it runs.
        swallows: Whether a delivery that failed is reported as done.
        reviews: Whether the sweep looks for tenants that nobody judged.
    """

    name: str = "this design"
    ingestion: Callable[[Ingestion, World], Ingestion] = lambda made, world: made
    worklist: Callable[[Worklist, World], Worklist] = lambda made, world: made
    redrive: Callable[[Redrive, World], Redrive] = lambda made, world: made
    install: Callable[..., bool] = install_limits
    rerating: Callable[[Rerating, World], Rerating] = lambda made, world: made
    patched: Callable[[], AbstractContextManager[Any]] = nullcontext
    swallows: bool = False
    reviews: bool = True


PRODUCT = Design()
