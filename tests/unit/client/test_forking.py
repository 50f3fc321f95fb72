"""Forks with connections and locks in use."""

import os
import threading

from botocore.credentials import Credentials

from bedrock_meter.client import Amounts, HttpTransport, ReservationRequest, TenantGuard
from tests.doubles.quota import QuotaServer


def test_a_child_makes_connections_of_its_own(server: QuotaServer) -> None:
    transport = HttpTransport(server.url, region="us-east-1", credentials=Credentials("key", "secret"))
    guard = TenantGuard(transport)
    guard.admit("acme", estimate=Amounts(1))
    assert server.connections == 1
    child = os.fork()
    if child == 0:
        try:
            guard.admit("acme", estimate=Amounts(1))
            code = 0
        finally:
            os._exit(locals().get("code", 1))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert server.connections == 2
    guard.admit("acme", estimate=Amounts(1))
    assert server.connections == 2, "the parent's is as it was"
    guard.close()


def test_locks_that_another_thread_held_do_not_stop_a_child(server: QuotaServer) -> None:
    transport = HttpTransport(server.url, region="us-east-1", credentials=Credentials("key", "secret"))
    guard = TenantGuard(transport)
    admission = guard._admission
    with transport._lock, admission._lock, admission.memory._lock:
        child = os.fork()
        if child == 0:
            try:
                watchdog = threading.Timer(20, os._exit, (7,))
                watchdog.start()
                guard.admit("acme", model="anthropic.claude-sonnet-4-6", estimate=Amounts(1))
                transport.reserve("acme", ReservationRequest("k", Amounts(1)))
                os._exit(0)
            finally:
                os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    guard.close()
