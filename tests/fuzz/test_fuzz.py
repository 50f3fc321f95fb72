"""A part of `make fuzz`, and that its checks can fail."""

from typing import Any

import pytest

from bedrock_meter.api.callers import Caller
from tests.fuzz.apis import APIS
from tests.fuzz.gateway import Gateway
from tests.fuzz.running import fuzz

EXAMPLES = 40


@pytest.mark.parametrize("name", sorted(APIS))
def test_no_answer_is_other_than_the_document_says(name: str) -> None:
    make, document, known = APIS[name]
    outcome = fuzz(make, document, known, EXAMPLES)
    assert outcome
    for operation, (sent, statuses) in outcome.items():
        assert sent >= EXAMPLES // 2, operation
        assert any(status < 300 for status in statuses), operation
        assert 401 in statuses, operation


class Careless(Gateway):
    """Changes answers on their way."""

    def __init__(self, inner: Gateway, status: int) -> None:
        super().__init__(inner.resolver)
        self.status = status

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        def start(status: str, headers: list[tuple[str, str]]) -> object:
            broken = status.startswith("200") and environ["PATH_INFO"].endswith("/quota")
            return start_response(f"{self.status} -" if broken else status, headers)

        return super().__call__(environ, start)


@pytest.mark.parametrize("status", [500, 418, 202])
def test_an_answer_that_is_not_documented_is_found(status: int) -> None:
    make, document, known = APIS["quota"]
    with pytest.raises(BaseException, match=r"Undocumented|Server error"):
        fuzz(lambda: Careless(make(), status), document, known, EXAMPLES)


def test_a_request_that_is_answered_without_a_signature_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    make, document, known = APIS["quota"]
    monkeypatch.setattr("bedrock_meter.api.resolver.caller_of", lambda *_: Caller("anybody"))
    with pytest.raises(BaseException, match=r"(?i)auth|without a signature"):
        fuzz(make, document, known, EXAMPLES)
