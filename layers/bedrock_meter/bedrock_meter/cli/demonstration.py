"""``run`` and ``up``: the whole meter on this machine, with the sample tenants and records of ``events/``."""

import signal
import sys
from typing import Any

from bedrock_meter.cli.outcome import outcome_document, sums_document
from bedrock_meter.cli.progress import Progress
from bedrock_meter.cli.records import TENANTS_FILE, read_paths
from bedrock_meter.cli.session import replay_lines
from bedrock_meter.cli.tables import print_outcome
from bedrock_meter.cli.tenants import load_plans, load_tenants
from bedrock_meter.cli.timeline import TimeMode
from bedrock_meter.local.project import Project, find_project
from bedrock_meter.local.routes import ask_quota
from bedrock_meter.local.stack import LocalStack, launched


def demonstrate(*, keep_serving: bool) -> None:
    """Deploy locally, onboard the sample tenants, replay the sample records and show what came of it.

    Args:
        keep_serving: Whether to keep stack and quota API until Ctrl-C.
    """
    project = find_project()
    with Progress() as progress, launched(project, progress.tell, announce=keep_serving) as stack:
        tenant = _show_samples(project, stack, progress)
        if keep_serving:
            _print_addresses(stack, tenant)
            _wait_for_interrupt()


def _show_samples(project: Project, stack: LocalStack, progress: Progress) -> str:
    """Replay the samples and print everything; returns a tenant that is worth asking about."""
    file = project.samples / TENANTS_FILE
    definitions, plans = load_tenants(file), load_plans(file)
    lines = read_paths([project.samples])
    replayed = replay_lines(stack, lines, TimeMode.NOW, definitions, progress, plans=plans)
    document = outcome_document(replayed, [definition.id for definition in definitions])
    progress.pause()
    print_outcome(document, sums_document(replayed.added.rollups.unattributed))
    tenant = _worth_asking(document)
    status, answer = ask_quota(stack.api, tenant)
    print(f"\nGET /v1/tenants/{tenant}/quota, signed, answers {status}:")
    _print_json(answer)
    return tenant


def _worth_asking(document: dict[str, Any]) -> str:
    """Return the first tenant that is throttled, else the first one."""
    tenants = document["tenants"]
    throttled = [name for name, usage in tenants.items() if not all(limit["allowed"] for limit in usage["limits"])]
    return str((throttled or list(tenants))[0])


def _print_addresses(stack: LocalStack, tenant: str) -> None:
    print("\nThe stack keeps serving. Ask the quota API with a signed request:\n")
    print(f"  {stack.api.curl(tenant)}\n")
    print("Send more records:  bedrock-meter replay PATH...")
    print(f"AWS endpoint:       {stack.endpoint.url}")
    print("Stop:               Ctrl-C", flush=True)


def _print_json(document: object) -> None:
    import json

    print(json.dumps(document, indent=2))


def _wait_for_interrupt() -> None:
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        print("\nstopping", file=sys.stderr)
