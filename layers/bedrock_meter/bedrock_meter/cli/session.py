"""A local stack for one command, tenants in it, and records through it: what ``replay``, ``run`` and ``up`` share."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bedrock_meter.cli.progress import Progress
from bedrock_meter.cli.records import SourceLine
from bedrock_meter.cli.tenants import apply_gateways, apply_tenants
from bedrock_meter.cli.timeline import TimeMode, place
from bedrock_meter.clock import now_ms
from bedrock_meter.local.project import Project
from bedrock_meter.local.replay import Replay, Replayed
from bedrock_meter.local.stack import LocalStack, launched, replaying, served_stack
from bedrock_meter.tenants.directory import KNOWN_FOR_MS, UNKNOWN_FOR_MS
from bedrock_meter.tenants.onboarding import Applied
from bedrock_meter.tenants.plans import Plan
from bedrock_meter.tenants.tenant import TenantDefinition
from bedrock_meter.tenants.trust import GatewayDefinition


@contextmanager
def some_stack(project: Project, progress: Progress) -> Iterator[LocalStack]:
    """Use the stack that ``make up`` serves, or else a fresh one that ends with the ``with`` block."""
    served = served_stack(project)
    if served is None:
        with launched(project, progress.tell) as fresh:
            yield fresh
    else:
        progress.note("using the local stack that is being served: sums cover this replay only")
        with replaying(project):
            yield served


def onboard(
    stack: LocalStack,
    definitions: Sequence[TenantDefinition],
    progress: Progress,
    gateways: GatewayDefinition | None = None,
    plans: Sequence[Plan] = (),
) -> list[Applied]:
    """Apply plans, tenants and gateways to a local stack, and wait until a recorder that was at work knows the tenants.

    Returns:
        What was changed.
    """
    stack.endpoint.adopt()
    is_trust_new = gateways is not None and apply_gateways(gateways, stack.outputs)
    changed = [one for one in apply_tenants(definitions, stack.outputs, "bedrock-meter", plans) if one.changed]
    # What the stack trusts is remembered for as long as a known answer.
    is_trust_new |= any(what.startswith("principal ") for one in changed for what in one.changed)
    if stack.is_served and (changed or is_trust_new):
        remembered_ms = KNOWN_FOR_MS if is_trust_new else UNKNOWN_FOR_MS
        known_ms = max([now_ms() + remembered_ms, *(one.effective_ms for one in changed)])
        progress.tell(f"waiting {(known_ms - now_ms()) // 1000 + 1} s until the recorder knows the new tenants")
        time.sleep(max(0, known_ms - now_ms()) / 1000)
    return changed


def replay_lines(
    stack: LocalStack,
    lines: Sequence[SourceLine],
    mode: TimeMode,
    definitions: Sequence[TenantDefinition],
    progress: Progress,
    gateways: GatewayDefinition | None = None,
    plans: Sequence[Plan] = (),
) -> Replayed:
    """Onboard tenants and send lines; returns what became of them."""
    replay = Replay(stack)
    progress.tell("onboarding tenants")
    onboard(stack, definitions, progress, gateways, plans)
    return replay.run(place(lines, mode, now_ms()), progress.tell)
