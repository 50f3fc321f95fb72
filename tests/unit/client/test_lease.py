"""A block that many calls draw from: no request for a call, and what is left comes back."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bedrock_meter.client import Amounts, Lease, NoProfile, QuotaBusy, QuotaUnavailable, TenantGuard, TenantThrottled
from bedrock_meter.client.lease import AGAIN_SECONDS
from bedrock_meter.errors import ConfigurationError
from tests.doubles.bedrock import CONVERSED, Bedrock, client, converse_stream, error, ok, streamed
from tests.doubles.quota import MODEL, PROFILE_ARN, MemoryTransport, QuotaService
from tests.unit.client.conftest import Clock

CALL = {
    "modelId": MODEL,
    "messages": [{"role": "user", "content": [{"text": "hello"}]}],
    "inferenceConfig": {"maxTokens": 100},
}
DRAWN = Amounts(1, 100, 50)


def lease(guard: TenantGuard, requests: int = 10, tokens: int = 2_000, output: int = 1_000, seconds: int = 60) -> Lease:
    return guard.lease(
        "acme", model=MODEL, requests=requests, input_tokens=tokens, output_tokens=output, seconds=seconds
    )


def names(quota: QuotaService) -> list[str]:
    return [name for name, _ in quota.asked]


def test_calls_draw_from_the_block_without_a_request(guard: TenantGuard, quota: QuotaService) -> None:
    bedrock = Bedrock(ok(CONVERSED))
    guarded = guard.wrap(client(bedrock), tenant="acme")
    with lease(guard) as held:
        answer = [guarded.converse(**CALL) for _ in range(5)][-1]
        assert names(quota) == ["reserve"]
        assert answer["ResponseMetadata"]["bedrock-meter"]["leased"] is True
        assert PROFILE_ARN.replace(":", "%3A").replace("/", "%2F") in bedrock.requests[-1].url
        assert bedrock.body()["requestMetadata"] == {"bedrock-meter-reservation": next(iter(quota.held))}
        assert held.left == Amounts(5, 2_000 - 5 * 30, 1_000 - 5 * 12)
    (_, wanted), *_ = quota.asked
    assert (wanted.kind, wanted.ttl_ms) == ("lease", 240_000), "held for the log's lag beyond its use"


def test_what_is_left_comes_back_on_close(guard: TenantGuard, quota: QuotaService) -> None:
    with lease(guard) as held:
        held.admit(DRAWN)
        assert quota.reserved("acme") == 3_000
    assert quota.reserved("acme") == 150
    assert names(quota) == ["reserve", "shrink"]
    held.close()
    assert names(quota) == ["reserve", "shrink"]
    assert held.left == Amounts()


def test_a_block_that_nobody_used_is_released(guard: TenantGuard, quota: QuotaService) -> None:
    with lease(guard):
        pass
    assert names(quota) == ["reserve", "release"]
    assert quota.reserved("acme") == 0


def test_closing_the_guard_closes_its_leases(
    guard: TenantGuard, transport: MemoryTransport, quota: QuotaService
) -> None:
    lease(guard)
    guard.close()
    assert quota.reserved("acme") == 0
    assert transport.is_closed


def test_a_call_that_was_rejected_puts_everything_back(guard: TenantGuard) -> None:
    guarded = guard.wrap(client(Bedrock(error(429, "ThrottlingException"))), tenant="acme")
    with lease(guard) as held, pytest.raises(Exception, match="ThrottlingException"):
        guarded.converse(**CALL)
    assert isinstance(held, Lease)
    with pytest.raises(Exception, match="ThrottlingException"):
        guarded.converse(**CALL)


def test_a_rejected_call_leaves_the_block_whole(guard: TenantGuard) -> None:
    guarded = guard.wrap(client(Bedrock(error(429, "ThrottlingException"))), tenant="acme")
    with lease(guard) as held:
        with pytest.raises(Exception, match="ThrottlingException"):
            guarded.converse(**CALL)
        assert held.left == Amounts(10, 2_000, 1_000)


def test_a_stream_draws_too(guard: TenantGuard, quota: QuotaService) -> None:
    guarded = guard.wrap(client(Bedrock(streamed(converse_stream()))), tenant="acme")
    with lease(guard) as held:
        list(guarded.converse_stream(**CALL)["stream"])
        assert held.left == Amounts(9, 1_970, 988)
    assert names(quota) == ["reserve", "shrink"]


def test_a_call_without_an_answer_keeps_what_it_drew(guard: TenantGuard) -> None:
    with lease(guard) as held:
        admitted = held.admit(DRAWN)
        assert admitted is not None
        admitted.unknown()
        assert held.left == Amounts(9, 1_900, 950)


def test_caches_count_as_reading(guard: TenantGuard) -> None:
    with lease(guard) as held:
        admitted = held.admit(DRAWN)
        assert admitted is not None
        admitted.used(Amounts(1, 10, 5, 20, 30))
        assert held.left == Amounts(9, 1_940, 995)


def test_what_a_block_gives_back_is_named_by_the_kind_that_was_read(guard: TenantGuard, quota: QuotaService) -> None:
    """A cache write is dearer than what is read without one: the hold in dollars must not shrink below it. What may
    have been read from a cache stays held on that meter too.
    """
    with lease(guard, tokens=3_000) as held:
        used = held.admit(Amounts(1, 100, 50, may_cache=True))
        unknown = held.admit(Amounts(1, 200, 50, may_cache=True))
        plain = held.admit(Amounts(1, 400, 50))
        assert None not in (used, unknown, plain)
        used.used(Amounts(1, 10, 5, 20, 30))  # type: ignore[union-attr]
    (_, (_, usage, _)) = quota.asked[-1]
    assert usage == {
        "requests": 3,
        "input_tokens": 10 + 200 + 400,
        "output_tokens": 105,
        "cache_read_tokens": 20 + 200,
        "cache_write_tokens": 30 + 200,
    }


def test_what_an_answer_does_not_count_stays_drawn(guard: TenantGuard, quota: QuotaService) -> None:
    with lease(guard, tokens=3_000) as held:
        cached, plain, silent = (
            held.admit(one)
            for one in (Amounts(1, 100, 50, may_cache=True), Amounts(1, 400, 50), Amounts(1, 200, 70, may_cache=True))
        )
        assert None not in (cached, plain, silent)
        unsaid = frozenset({"cache_read_tokens", "cache_write_tokens"})
        cached.used(Amounts(1, 10, 5, unsaid=unsaid))  # type: ignore[union-attr]
        plain.used(Amounts(1, 300, 5, unsaid=unsaid))  # type: ignore[union-attr]
        silent.used(Amounts(1, 0, 0, 150, 50, unsaid=frozenset({"output_tokens"})))  # type: ignore[union-attr]
        assert held.left == Amounts(7, 3_000 - 100 - 300 - 200, 1_000 - 5 - 5 - 70)
    (_, (_, usage, _)) = quota.asked[-1]
    assert usage == {
        "requests": 3,
        "input_tokens": 100 + 300,
        "output_tokens": 80,
        "cache_read_tokens": 150 + 100,
        "cache_write_tokens": 50 + 100,
    }


def test_a_block_is_held_as_if_everything_might_be_cached(guard: TenantGuard, quota: QuotaService) -> None:
    with lease(guard):
        (_, wanted), *_ = quota.asked
    assert wanted.estimate == {"requests": 10, "input_tokens": 2_000, "output_tokens": 1_000, "may_cache": True}


def test_a_low_block_is_renewed_by_a_call_that_came_back(guard: TenantGuard, quota: QuotaService) -> None:
    with lease(guard) as held:
        for _ in range(8):
            admitted = held.admit(DRAWN)
            assert admitted is not None
            admitted.used(DRAWN)
        assert names(quota) == ["reserve", "reserve", "shrink"], (
            "at two of ten: the next block, then the old one's rest"
        )
        assert held.left == Amounts(10, 2_000, 1_000)
        first, second = quota.held.values()
        assert first.amounts == {"requests": 8, "input_tokens": 800, "output_tokens": 400, "may_cache": True}
        assert second.amounts["input_tokens"] == 2_000


def test_a_block_is_renewed_before_its_time_is_over(guard: TenantGuard, quota: QuotaService, clock: Clock) -> None:
    with lease(guard) as held:
        clock.go_on(45)
        admitted = held.admit(DRAWN)
        assert admitted is not None
        admitted.used(DRAWN)
        assert names(quota) == ["reserve", "reserve", "shrink"]
        assert held.left == Amounts(10, 2_000, 1_000)


def test_an_idle_lease_ends_and_the_next_call_fetches_another(
    guard: TenantGuard, quota: QuotaService, clock: Clock
) -> None:
    with lease(guard) as held:
        clock.go_on(60)
        assert held.left == Amounts()
        assert held.admit(DRAWN) is not None
        assert names(quota) == ["reserve", "release", "reserve"], "its rest first: it would stand in the way"


def test_a_call_that_the_block_cannot_hold_is_asked_for_by_itself(guard: TenantGuard, quota: QuotaService) -> None:
    guarded = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    with lease(guard, output=50):
        answer = guarded.converse(**CALL)
        assert answer["ResponseMetadata"]["bedrock-meter"]["leased"] is False
    assert [wanted.kind for name, wanted in quota.asked if name == "reserve"] == ["lease", "call"]


def test_other_models_and_other_tenants_do_not_draw(guard: TenantGuard, quota: QuotaService) -> None:
    quota.profiles["acme", "meta.llama4"] = ("l1l2l3l4l5l6", "arn:llama")
    guarded = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    with lease(guard):
        assert (
            guarded.converse(**{**CALL, "modelId": "meta.llama4"})["ResponseMetadata"]["bedrock-meter"]["leased"]
            is False
        )
        arn = f"arn:aws:bedrock:us-east-1::foundation-model/{MODEL}"
        assert guarded.converse(**{**CALL, "modelId": arn})["ResponseMetadata"]["bedrock-meter"]["leased"] is True


def test_calls_of_another_region_geography_or_price_do_not_draw(guard: TenantGuard, quota: QuotaService) -> None:
    """The block's profile is of us-east-1, and its dollars are those of tokens at the default tier."""
    with lease(guard) as held:

        def is_leased(model: str = MODEL, estimate: Amounts = DRAWN, **more: str) -> bool:
            try:
                return guard.admit("acme", model=model, estimate=estimate, **more).leased
            except NoProfile:
                return False

        assert is_leased()
        assert is_leased(region="us-east-1")
        assert is_leased(region="us-east-1", tier="default")
        before = held.left
        assert not is_leased(region="eu-west-1")
        assert not is_leased(tier="priority")
        assert not is_leased(f"us.{MODEL}", region="us-east-1")
        assert not is_leased(f"arn:aws:bedrock:us-west-2::foundation-model/{MODEL}", region="us-east-1")
        assert not is_leased(estimate=Amounts(1, 10, 10, images=1))
        assert not is_leased(estimate=Amounts(1, 10, 10, cost_nano_usd=1))
        assert held.left == before
    with guard.lease("acme", model=MODEL, requests=5, input_tokens=500, output_tokens=500, region="eu-west-1"):
        assert quota.asked[-1][1].region == "eu-west-1"
        assert is_leased(region="eu-west-1")
        assert not is_leased(region="us-east-1")


def test_a_block_whose_profile_names_no_region_serves_the_region_it_was_asked_for(
    guard: TenantGuard, quota: QuotaService
) -> None:
    quota.profiles["acme", MODEL] = ("a1c3m5e7k9q2", "a1c3m5e7k9q2")
    guarded = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    for region, leased in ((None, False), ("us-east-1", True)):
        with guard.lease("acme", model=MODEL, requests=5, input_tokens=500, output_tokens=500, region=region):
            assert guarded.converse(**CALL)["ResponseMetadata"]["bedrock-meter"]["leased"] is leased


def test_a_renewal_that_was_too_fast_is_repeated_as_soon_as_was_said(
    guard: TenantGuard, transport: MemoryTransport, quota: QuotaService, clock: Clock
) -> None:
    with lease(guard, requests=1) as held:
        assert held.admit(DRAWN) is not None
        transport.failure = QuotaBusy("asked too fast", 2)
        assert held.admit(DRAWN) is None
        transport.failure = None
        clock.go_on(1.9)
        assert held.admit(DRAWN) is None
        clock.go_on(0.1)
        assert held.admit(DRAWN) is not None


def test_a_block_that_cannot_be_had_is_told_at_once(guard: TenantGuard, quota: QuotaService) -> None:
    with pytest.raises(TenantThrottled):
        lease(guard, tokens=100_000)
    lease(guard).close()
    with pytest.raises(NoProfile):
        guard.lease("acme", model="meta.llama4", requests=1)
    assert quota.reserved("acme") == 0
    with pytest.raises(ConfigurationError, match="3600"):
        lease(guard, seconds=3_500)


def test_one_lease_for_a_tenant_and_model(guard: TenantGuard, quota: QuotaService) -> None:
    with lease(guard) as held:
        with pytest.raises(ConfigurationError, match="already"):
            lease(guard)
        assert held.admit(DRAWN) is not None
    assert names(quota) == ["reserve", "shrink"]
    lease(guard).close()


def test_a_renewal_that_is_denied_leaves_calls_to_ask_for_themselves(
    guard: TenantGuard, quota: QuotaService, clock: Clock
) -> None:
    guarded = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    with lease(guard, requests=1, tokens=300, output=100):
        guarded.converse(**CALL)
        quota.used["acme"] = 19_550  # room for a call, and for no second block
        asked = []
        for seconds in (0, 0, AGAIN_SECONDS - 1, 1):
            quota.asked.clear()
            clock.go_on(seconds)
            guarded.converse(**CALL)
            asked.append([getattr(one, "kind", name) for name, one in quota.asked])
    assert asked == [
        ["lease"],  # drawn, and the renewal is denied
        ["shrink", "call", "shrink"],  # the block's rest goes back: it would stand in the way
        ["call", "shrink"],  # not asked for again so soon
        ["lease", "call", "shrink"],
    ]


def test_while_nobody_answers_the_rest_is_used_up_and_then_the_policy_holds(
    guard: TenantGuard, transport: MemoryTransport, quota: QuotaService
) -> None:
    quota.fail["acme"] = "open"
    guarded = guard.wrap(client(Bedrock(ok(CONVERSED))), tenant="acme")
    with lease(guard, requests=2):
        transport.failure = QuotaUnavailable("no answer")
        said = [guarded.converse(**CALL)["ResponseMetadata"]["bedrock-meter"] for _ in range(3)]
    assert [(one["leased"], one["degraded"]) for one in said] == [(True, False), (True, False), (False, True)]


def test_threads_draw_no_more_than_the_blocks_hold(guard: TenantGuard, quota: QuotaService) -> None:
    quota.maximum["acme"] = 10**9
    drawn: list[str | None] = []
    alone: list[int] = []
    with lease(guard, requests=50, tokens=100_000, output=100_000) as held:

        def work() -> None:
            for _ in range(100):
                admitted = held.admit(DRAWN)
                if admitted is None:
                    alone.append(1)  # others drew three blocks empty before it: it asks for itself
                    continue
                drawn.append(admitted.reservation)
                admitted.used(DRAWN)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(drawn) + len(alone) == 800
    assert len(drawn) > 400
    for identity, block in quota.held.items():
        assert drawn.count(identity) <= 50
        assert drawn.count(identity) == block.amounts.get("requests", 0) or block.status == "released"


def test_a_forked_child_has_nothing_of_the_parents_block(guard: TenantGuard, quota: QuotaService) -> None:
    """The child fetches a block of its own; the parent's stays whole, and what the child gives back is its own."""
    with lease(guard) as held:
        held._lock.acquire()  # as if another thread were at it just now
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                nothing = held.left == Amounts()
                fetched = held.admit(DRAWN) is not None
                own = list(quota.held)
                held.close()
                os.write(write, repr((nothing, fetched, len(own), names(quota)[1:])).encode())
            finally:
                os._exit(0)
        held._lock.release()
        os.waitpid(child, 0)
        os.close(write)
        assert os.read(read, 1_000).decode() == repr((True, True, 2, ["reserve", "shrink"]))
        os.close(read)
        assert held.left == Amounts(10, 2_000, 1_000)
        assert names(quota) == ["reserve"]


PROGRAM = """
import os, sys
from bedrock_meter.client import TenantGuard
from tests.doubles.quota import MODEL, MemoryTransport, service

class Telling(MemoryTransport):
    def release(self, *arguments):
        super().release(*arguments)
        print("released", os.getpid() == parent, flush=True)

parent = os.getpid()
guard = TenantGuard(Telling(service()))
lease = guard.lease("acme", model=MODEL, requests=5)
{rest}
"""


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("", "released True\n"),
        ("raise SystemExit(0)", "released True\n"),
        ("os._exit(0)", ""),
        ("child = os.fork()\nif child: os.waitpid(child, 0)", "released True\n"),
    ],
    ids=["end", "exit", "death", "fork"],
)
def test_the_end_of_a_process(rest: str, said: str) -> None:
    """What is left is given back once, by the process that holds it; a process that dies leaves it to time."""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(rest=rest)], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == said, done.stderr
