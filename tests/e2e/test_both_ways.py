"""The tenant commands by `--stack` and by `--api`: the same results, the same output, the same exit codes."""

import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bedrock_meter.cli.main import execute
from bedrock_meter.clock import now_ms
from bedrock_meter.invocations.record import TokenCounts
from bedrock_meter.local.endpoint import OPERATOR, REGION, Endpoint
from bedrock_meter.local.project import STATE_VARIABLE
from bedrock_meter.storage import dynamodb
from bedrock_meter.storage.dynamodb import number, text
from tests.doubles.records import invocation
from tests.doubles.subscription import record_of
from tests.e2e.conftest import Command, Up

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
PLANS = """
plans:
  - name: twins
    limits: [{name: hour, meter: total_tokens, window: 1h, max: 20k}]
"""
TENANTS = """
tenants:
  - id: NAME-acme
    name: Acme [bold] Limited
    timezone: Europe/Berlin
    plan: twins
    fail: closed
    profiles: [{id: NAMEacmeprof1, model: anthropic.claude-sonnet-4-6, routing: global}]
    principals: ["arn:aws:iam::111122223333:role/NAME-worker"]
    limits:
      - {meter: requests, window: month@15, max: 1k, hard: true, thresholds: [90]}
      - {meter: cost_usd, window: day, max: 12.5, models: [anthropic.*]}
  - {id: NAME-plain}
"""


class Way:
    """One of the two ways to the same stack; commands run in this process, which is what most of their time goes to."""

    def __init__(self, name: str, *option: str) -> None:
        self.name = name
        self.option = option

    def __call__(self, *words: str | Path, code: int = 0) -> tuple[str, str]:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            found = execute([*map(str, words), *self.option])
        assert found == code, err.getvalue() + out.getvalue()
        return out.getvalue(), err.getvalue()

    def document(self, *words: str | Path, code: int = 0) -> Any:
        return json.loads(self(*words, "--output", "json", code=code)[0])


@pytest.fixture(scope="module")
def ways(up: Up) -> Iterator[tuple[Way, Way]]:
    """By the tables, and by the admin API, with the same AWS settings; names of one length, for equal tables."""
    settings = {
        STATE_VARIABLE: up.state["folder"],
        "AWS_ACCESS_KEY_ID": OPERATOR,
        "AWS_SECRET_ACCESS_KEY": OPERATOR,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": up.state["endpoint"],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dynamodb, "_session", None)  # somebody may have asked for credentials before
        for name, value in settings.items():
            patch.setenv(name, value)
        yield Way("wst", "--stack", "local"), Way("wap", "--api", up.state["api"]["admin_url"])


def alike(told: str | Any, way: Way) -> Any:
    """Take out what must differ: names of tenants and profiles that are made for each way, ARNs of those, instants."""
    words = told if isinstance(told, str) else json.dumps(told, sort_keys=True)
    words = INSTANT.sub("INSTANT", words).replace(f"{way.name}-", "x-").replace(f"{way.name}acmeprof1", "xacmeprof1")
    words = re.sub(r"\b[0-9a-f]{16}\b", "boost", words)
    return re.sub(r"\bip-[0-9a-f]{12}\b", "made", words)


def both(ways: tuple[Way, Way], told: Callable[[Way], Any]) -> list[Any]:
    """Do the same on both ways; what they tell must be alike. Returns what each told."""
    found = [told(way) for way in ways]
    assert alike(found[0], ways[0]) == alike(found[1], ways[1])
    return found


def applied(way: Way, folder: Path) -> str:
    """Apply a way's own tenants from a file; returns what it says."""
    file = folder / f"{way.name}.yaml"
    file.write_text(TENANTS.replace("NAME", way.name), encoding="utf-8")
    return way("tenants", "apply", file, "--yes")[0].rpartition("taken from other tenants\n")[2]


@pytest.fixture
def standing(ways: tuple[Way, Way], tmp_path: Path) -> None:
    """The plan and both ways' tenants, whichever test is the first one here."""
    plans = tmp_path / "plans.yaml"
    plans.write_text(PLANS, encoding="utf-8")
    ways[0]("plans", "apply", plans, "--yes")
    for way in ways:
        applied(way, tmp_path)


def test_plans_and_tenants_from_files(up: Up, ways: tuple[Way, Way], served: Command, tmp_path: Path) -> None:
    stack, api = ways
    plans = tmp_path / "plans.yaml"
    plans.write_text(PLANS, encoding="utf-8")
    for one, other in ((stack, api), (api, stack)):
        assert "\ntwins: changed" in one("plans", "apply", plans, "--yes")[0]
        assert other("plans", "apply", plans)[0].startswith("twins: as it was")
        assert "twins" in [plan["name"] for plan in other.document("plans", "list")]
        assert one("plans", "list")[0] == other("plans", "list")[0]
        assert one("plans", "apply", tmp_path / "missing.yaml", code=2)[0] == ""
        if one is stack:
            assert other("plans", "remove", "twins", "--yes")[0] == "twins: removed\n"
            both(ways, lambda way: way("plans", "remove", "twins", code=2)[0])
            both(ways, lambda way: way("plans", "show", "twins", code=2)[0])

    def apply(way: Way) -> str:
        return applied(way, tmp_path)

    first = both(ways, apply)
    role = "arn:aws:iam::111122223333:role/wst-worker"
    assert [line.partition(";")[0] for line in first[0].splitlines()] == [
        f"wst-acme: limits, fail policy, profile wstacmeprof1, principal {role}, tenant",
        "wst-plain: tenant",
    ]
    assert all(line.split(": ")[1].startswith("as it was") for told in both(ways, apply) for line in told.splitlines())

    shown = [way.document("plans", "show", "twins") for way in ways]
    assert shown[0].pop("tenants") == ["wap-acme", "wst-acme"]
    assert shown[0] == shown[1]
    assert [one["what"] for one in shown[0]["history"]] == ["apply", "remove", "apply"]
    assert all("-acme" in way("plans", "remove", "twins", "--yes", code=2)[1] for way in ways), "a tenant has it"

    # A call through each one's profile; a global profile's price is known although only the file named the routing.
    calls = tmp_path / "calls.jsonl"
    made = [
        invocation(f"both-{way.name}", profile=f"{way.name}acmeprof1", event_ms=now_ms(), tokens=TokenCounts(900, 90))
        for way in ways
    ]
    calls.write_text("\n".join(json.dumps(record_of(one)) for one in made), encoding="utf-8")
    assert served.replay("--time", "recorded", calls)["recorded"] == 2

    documents = both(ways, lambda way: way.document("tenants", "show", f"{way.name}-acme"))
    document = documents[1]
    hour, month, dollars = document["limits"]
    assert [(one["name"], one["source"]) for one in document["limits"]] == [
        ("hour", "plan"),
        ("requests-month-15", "tenant"),
        ("cost_usd-day", "tenant"),
    ]
    assert (hour["used"], month["used"], float(dollars["used"]) > 0) == (990, 1, True)
    (profile,) = document["profiles"]
    assert (profile["id"], profile["routing"], profile["by"]) == ("wapacmeprof1", "global", "person")
    assert [one["tenant"] for one in profile["periods"]] == ["wap-acme"]
    both(ways, lambda way: way("tenants", "show", f"{way.name}-acme")[0])
    both(ways, lambda way: way("tenants", "show", f"{way.name}-plain")[0])
    both(ways, lambda way: way("tenants", "show", f"{way.name}-nobody", code=2)[0])
    # Crosswise: whichever way is asked, a tenant is the same.
    assert INSTANT.sub("", api("tenants", "show", "wst-acme")[0]) == INSTANT.sub(
        "", stack("tenants", "show", "wst-acme")[0]
    )
    assert api("tenants", "list")[0] == stack("tenants", "list")[0]
    assert api.document("tenants", "list") == stack.document("tenants", "list")


@pytest.mark.usefixtures("standing")
def test_boosts_suspensions_and_the_history(ways: tuple[Way, Way]) -> None:
    grant = ("--factor", "1.5", "--to", "2027-12-31T00:00Z", "--reason", "launch week")
    boosted = both(ways, lambda way: way("tenants", "boost", f"{way.name}-acme", "hour", *grant)[0])
    assert boosted[1].startswith("wap-acme: hour boosted: ")
    both(ways, lambda way: way("tenants", "boost", f"{way.name}-acme", "hours", *grant, code=2)[0])
    both(ways, lambda way: way("tenants", "boosts", f"{way.name}-acme")[0])
    hours = [one["limits"][0] for one in both(ways, lambda way: way.document("tenants", "show", f"{way.name}-acme"))]
    assert [(one["max"], one["base_max"]) for one in hours] == [(30_000, 20_000)] * 2
    assert "launch week" in both(ways, lambda way: way("tenants", "show", f"{way.name}-acme")[0])[1]

    def suspend(way: Way, reason: str) -> str:
        return way("tenants", "suspend", f"{way.name}-acme", "--reason", reason)[0]

    assert "invoice unpaid" in both(ways, lambda way: suspend(way, "invoice unpaid"))[0]
    assert "invoice unpaid" in both(ways, lambda way: suspend(way, "another word"))[0], "the first reason stays"
    stopped = both(ways, lambda way: way.document("tenants", "show", f"{way.name}-acme"))
    assert [(one["allowed"], one["suspended"]["reason"]) for one in stopped] == [(False, "invoice unpaid")] * 2
    both(ways, lambda way: way("tenants", "suspend", f"{way.name}-nobody", "--reason", "x", code=2)[0])
    both(ways, lambda way: way("tenants", "resume", f"{way.name}-acme")[0])
    both(ways, lambda way: way("tenants", "resume", f"{way.name}-acme")[0])
    histories = [way.document("tenants", "history", f"{way.name}-acme") for way in ways]
    assert [[one["what"] for one in history] for history in histories] == [
        ["resume", "suspend", "boost", "apply"],
        ["resume", "suspend", "boost", "put"],
    ]
    # Each change reads the same, whoever wrote it.
    for first, second in zip(*histories, strict=True):
        sides = [{side: one[side] for side in ("before", "after")} for one in (first, second)]
        assert alike(sides[0], ways[0]) == alike(sides[1], ways[1]), first["what"]
    for way in ways:
        newest = [one.document("tenants", "history", f"{way.name}-acme", "--limit", "1") for one in ways]
        assert newest[0] == newest[1]


@pytest.mark.usefixtures("standing")
def test_tenants_with_profiles_of_their_own_come_and_go(up: Up, ways: tuple[Way, Way], tmp_path: Path) -> None:
    _, api = ways
    bedrock = Endpoint(up.state["endpoint"]).client("bedrock")

    def add(way: Way, *more: str | Path) -> Any:
        limit = ("--limit", "meter=requests,window=day,max=10")
        return way.document("tenants", "add", f"{way.name}-new", "--model", MODEL, *limit, "--plan", "twins", *more)

    dry = both(ways, lambda way: add(way, "--dry-run"))
    assert dry[1]["tenants"][0]["changed"] == ["limits", f"created {MODEL}", "tenant"]
    both(ways, lambda way: way("tenants", "show", f"{way.name}-new", code=2)[0])
    added = both(ways, add)
    assert [one["how"] for one in added[1]["tenants"][0]["profiles"]] == ["created"]
    assert added[1]["policy_statements"][0]["Resource"] == added[1]["tenants"][0]["profiles"][0]["arn"]
    again = both(ways, add)
    assert (again[1]["tenants"][0]["result"], again[1]["tenants"][0]["profiles"][0]["how"]) == ("unchanged", "had")
    shown = both(ways, lambda way: way.document("tenants", "show", f"{way.name}-new"))
    assert [one["routing"] for one in shown[1]["profiles"]] == ["in-region"]
    assert [one["name"] for one in shown[1]["limits"]] == ["hour", "requests-day"]
    # What one way has made, the other one finds.
    assert add(replace_way(api, "wst"))["tenants"][0]["result"] == "unchanged"
    # One more model, for a tenant that is there; the API has no ids of the tables in its answers, only profiles.
    both(ways, lambda way: add(way, "--model", "meta.llama3-8b-instruct-v1:0", "--name", "New"))

    file = tmp_path / "many.csv"
    for way in ways:
        file.write_text(f"id,models\n{way.name}-m1,{MODEL}\n{way.name}-m2,\n", encoding="utf-8")
        done = way.document("tenants", "add", "--file", file)
        assert [one["result"] for one in done["tenants"]] == ["changed", "changed"]
        assert way.document("tenants", "add", "--file", file)["tenants"][0]["result"] == "unchanged"
    refused = [way.document("tenants", "add", f"{way.name}-m2", "--plan", "gone", code=1)["tenants"][0] for way in ways]
    assert refused[0]["problem"] == refused[1]["problem"]

    def remove(way: Way) -> Any:
        return way.document("tenants", "remove", f"{way.name}-new", "--delete-profiles", "--yes")

    removed = [remove(way) for way in ways]
    assert [(len(one["ended"]), len(one["deleted_profiles"]), one["kept_profiles"]) for one in removed] == [
        (2, 2, [])
    ] * 2
    left = {
        one["inferenceProfileArn"]
        for one in bedrock.list_inference_profiles(typeEquals="APPLICATION")["inferenceProfileSummaries"]
    }
    assert not left & {arn for one in removed for arn in one["deleted_profiles"]}
    again = [remove(way) for way in ways]
    assert [(one["changed"], one["ended"], one["deleted_profiles"]) for one in again] == [(False, [], [])] * 2
    both(ways, lambda way: way("tenants", "remove", f"{way.name}-nobody", code=2)[0])
    notes = [way.document("tenants", "history", f"{way.name}-new", "--limit", "1")[0] for way in ways]
    assert [(one["what"], len(one["after"]["delete_profiles"])) for one in notes] == [("remove", 2)] * 2
    both(ways, lambda way: way("tenants", "show", f"{way.name}-new")[0])


def test_what_a_file_changes_is_shown_alike_and_an_export_changes_nothing(
    ways: tuple[Way, Way], standing: None, tmp_path: Path
) -> None:
    def shown(way: Way) -> str:
        """What a file that leaves nearly everything out would change, which is not done."""
        file = tmp_path / f"{way.name}-short.yaml"
        limit = "{meter: requests, window: day, max: 5}"
        text = f"tenants: [{{id: NAME-acme, limits: [{limit}]}}, {{id: NAME-z, profiles: [NAMEacmeprof1]}}]"
        file.write_text(text.replace("NAME", way.name), encoding="utf-8")
        said, told = way("tenants", "apply", file, code=4)
        assert way("tenants", "apply", file, "--dry-run")[0] == said
        assert "nothing was changed" in told
        return said

    told = both(ways, shown)
    lines = told[0].splitlines()
    assert "  - profile wstacmeprof1 goes 70 s later" in told[0]
    assert "  + profile wstacmeprof1: taken from wst-acme 70 s later" in told[0]
    assert "  - limit hour: 20000 total_tokens in 1h, of its plan" in lines
    assert max(map(len, lines)) <= 80

    def exported(way: Way) -> str:
        text = way("tenants", "export", f"{way.name}-acme", f"{way.name}-plain")[0]
        for each in ways:
            file = tmp_path / f"{way.name}-{each.name}-exported.yaml"
            file.write_text(text, encoding="utf-8")
            assert each("tenants", "apply", file, "--dry-run")[0] == "as it was: nothing would change\n"
        return text

    both(ways, exported)
    both(ways, lambda way: re.sub(r" --stack \S+", "", way("tenants", "remove", f"{way.name}-acme", code=4)[1]))
    everything = tmp_path / "everything.yaml"
    everything.write_text(ways[0]("tenants", "export")[0], encoding="utf-8")
    assert ways[0]("tenants", "apply", everything, "--dry-run")[0] == "as it was: nothing would change\n"


@dataclass(frozen=True)
class Callers:
    """Entries that nobody recorded, in the ledger of a stack: of tenants that will be erased, and of another one."""

    client: Any
    table: str
    tenants: str
    entries: tuple[dict[str, Any], ...]

    def write(self, kind: str, requests: list[dict[str, Any]]) -> None:
        for start in range(0, len(requests), 25):
            batch = [{kind: one} for one in requests[start : start + 25]]
            assert not self.client.batch_write_item(RequestItems={self.table: batch})["UnprocessedItems"]

    def removed_earlier(self, tenant: str) -> None:
        """Let a tenant be removed two minutes ago, when no recorder remembers it any more."""
        self.client.update_item(
            TableName=self.tenants,
            Key={"pk": text(f"TENANT#{tenant}"), "sk": text("TENANT")},
            UpdateExpression="ADD removed_ms :back",
            ExpressionAttributeValues={":back": number(-120_000)},
        )

    def named(self, tenant: str) -> int:
        """How many entries of a tenant name a caller."""
        pages = self.client.get_paginator("scan").paginate(TableName=self.table)
        found = [item for page in pages for item in page["Items"] if item.get("tenant") == text(tenant)]
        return sum("principal" in item for item in found)


@pytest.fixture
def callers(up: Up) -> Iterator[Callers]:
    """More than one page of the admin API. Taken away again: no roll-up knows them."""
    entries = tuple(
        {
            "pk": text(f"111122223333#us-east-1#{tenant}-{index}"),
            "tenant": text(tenant if index % 4 == 1 else "bystander"),
            "principal": text("arn:aws:iam::111122223333:role/jane.doe"),
            "input": number(7),
        }
        for tenant in ("wst-gone", "wap-gone")
        for index in range(300)
    )
    client = Endpoint(up.state["endpoint"]).client("dynamodb")
    outputs = up.state["outputs"]
    made = Callers(client, outputs["LedgerTable"], outputs["TenantsTable"], entries)
    made.write("PutRequest", [{"Item": one} for one in entries])
    try:
        yield made
    finally:
        made.write("DeleteRequest", [{"Key": {"pk": one["pk"]}} for one in entries])


def test_a_tenant_is_erased_in_steps(ways: tuple[Way, Way], callers: Callers) -> None:
    for way in ways:
        tenant = f"{way.name}-gone"
        way("tenants", "add", tenant, "--name", "Jane Doe")
        assert "still there" in way("tenants", "erase", tenant, "--yes", code=2)[1]
        way("tenants", "remove", tenant, "--yes")
        assert "for another minute at least" in way("tenants", "erase", tenant, "--yes", code=2)[1]
        callers.removed_earlier(tenant)
        assert "say --yes" in way("tenants", "erase", tenant, code=4)[1]
        assert callers.named(tenant) == 75
        erased = way.document("tenants", "erase", tenant, "--yes")
        assert (erased["principals_forgotten"], erased["history_entries_changed"]) == (75, 1)
        assert erased["ledger_entries_read"] >= 600
        assert callers.named(tenant) == 0
        assert way.document("tenants", "erase", tenant, "--yes")["principals_forgotten"] == 0
        assert way.document("tenants", "show", tenant)["name"] is None
        assert "Jane" not in way("tenants", "history", tenant, "--output", "json")[0]
    assert callers.named("bystander") == 450
    key = {"pk": text("111122223333#us-east-1#wap-gone-1")}
    assert callers.client.get_item(TableName=callers.table, Key=key)["Item"]["input"] == number(7)
    for way in ways:
        person = ("tenants", "erase", "--principal", "arn:aws:iam::111122223333:role/jane.doe")
        assert way.document(*person, "--dry-run")["principals_forgotten"] == callers.named("bystander")
        assert "say --yes" in way(*person, code=4)[1]
        assert way.document(*person, "--yes")["principals_forgotten"] == (450 if way is ways[0] else 0)
        assert callers.named("bystander") == 0
        assert way("tenants", "erase", "acme", *person[2:], code=2)[1].count("not both") == 1


def replace_way(way: Way, name: str) -> Way:
    """Return the same way to the other one's tenants."""
    return Way(name, *way.option)
