"""The table of findings: what counts as shown, and that it fits a terminal."""

import pytest

from tests.findings.__main__ import WIDTH, Outcome, is_shown, outcomes, table

FAILS, PASSES, ERROR = Outcome("fails", "assert 1 == 2"), Outcome("passes"), Outcome("error", "KeyError: 'type'")
REPORT = """<testsuites><testsuite>
<testcase classname="tests.findings.test_a" name="test_stated">
<failure message="AssertionError: assert 1 == 2&#10; more"/></testcase>
<testcase classname="tests.findings.test_a" name="test_bare"><failure message="assert 1 == 2"/></testcase>
<testcase classname="tests.findings.test_a" name="test_other"><failure message="KeyError: 'type'"/></testcase>
<testcase classname="tests.findings.test_a" name="test_setup"><error message="failed on setup"/></testcase>
<testcase classname="tests.findings.test_b" name="test_skip"><skipped message="no"/></testcase>
<testcase classname="tests.findings.test_b" name="test_fine[x]"/>
</testsuite></testsuites>"""


def test_only_what_a_test_asserts_is_a_failure() -> None:
    words = {name: one.word for name, one in outcomes(REPORT).items()}
    assert words == {
        "test_a: test_stated": "fails",
        "test_a: test_bare": "fails",
        "test_a: test_other": "error",
        "test_a: test_setup": "error",
        "test_b: test_skip": "skipped",
        "test_b: test_fine[x]": "passes",
    }
    assert outcomes(REPORT)["test_a: test_stated"].why == "AssertionError: assert 1 == 2"


@pytest.mark.parametrize(
    ("there", "here", "shown"),
    [
        ({"a": FAILS, "b": FAILS}, {"a": PASSES, "b": PASSES}, True),
        ({"a": FAILS, "b": PASSES}, {"a": PASSES, "b": PASSES}, False),
        ({"a": FAILS, "b": FAILS}, {"a": PASSES, "b": FAILS}, False),
        ({"a": ERROR}, {"a": PASSES}, False),
        ({"a": FAILS}, {"a": Outcome("skipped")}, False),
        ({"a": FAILS}, {}, False),
        ({}, {"a": PASSES}, False),
        ({}, {}, False),
    ],
)
def test_a_finding_is_shown_by_a_test_that_fails_there_and_passes_here(
    there: dict[str, Outcome], here: dict[str, Outcome], shown: bool
) -> None:
    assert is_shown(there, here) is shown


def test_both_columns_fit_a_terminal() -> None:
    name = "test_hot: test_" + "a_long_name_" * 9 + "[of_a_case]"
    lines = table({name: Outcome("fails", "AssertionError: " + "assert 1 == 2 " * 20)}, {name: PASSES}, "85c3969" * 5)
    assert max(map(len, lines)) <= WIDTH
    assert lines[0].split() == ["85c3969", "here"]
    assert any(line.split()[-2:] == ["fails", "passes"] for line in lines)
    assert any("assert 1 == 2" in line for line in lines), "why it failed"
