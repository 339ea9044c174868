"""The fixture ``advsim_gate``: the gate of ``advsim gate`` in a test.

pytest loads this module in every project of an environment where advsim is installed, so it imports nothing of advsim
before a test asks for a verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from advsim.predictions.gate import Gate

_SETTING = "advsim_not_enough_evidence"
_OUTCOMES = ("fail", "skip")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The setting that says what a test becomes without enough evidence."""
    parser.addini(_SETTING, "advsim_gate without enough evidence: fail (default) or skip", default=_OUTCOMES[0])


@pytest.fixture(scope="session")
def advsim_gate(pytestconfig: pytest.Config) -> AdvsimGate:
    """Fails a test where a candidate fails more often than a baseline by more than is allowed; see AdvsimGate."""
    return AdvsimGate(not_enough_evidence=pytestconfig.getini(_SETTING))


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvsimGate:
    """Holds a candidate against a baseline, and ends the test by the verdict.

    Attributes:
        not_enough_evidence: the setting, ``fail`` or ``skip``.
    """

    not_enough_evidence: str

    def __call__(
        self,
        sweep: str | Path,
        *,
        baseline: str,
        candidate: str,
        max_increase: float,
        mode: str | None = None,
        simulator: str | None = None,
        not_enough_evidence: Literal["fail", "skip"] | None = None,
    ) -> Gate:
        """The verdict "not worse"; any other ends the test with its sentence.

        Args:
            sweep: folder of a finished sweep; a relative one starts where pytest was started.
            baseline: name of a chatbot.
            candidate: name of another.
            max_increase: allowed increase in percentage points, at least 0 and below 100.
            mode: a mode that the sweep's detector measures; None: any of them.
            simulator: a simulator of the sweep or ``replay``; None: the last simulator.
            not_enough_evidence: whether the test then fails or is skipped; None: as the setting of pytest says.
        """
        __tracebackhide__ = True
        otherwise = self.not_enough_evidence if not_enough_evidence is None else not_enough_evidence
        if otherwise not in _OUTCOMES:
            pytest.fail(f"{_SETTING}: got {otherwise!r}, expected fail or skip", pytrace=False)
        from advsim.errors import AdvsimError, printable
        from advsim.predictions.gate import gate
        from advsim.rates.increase import IncreaseVerdict
        from advsim.sweep.outcomes import read_sweep

        try:
            found = gate(
                read_sweep(str(sweep)),
                baseline=baseline,
                candidate=candidate,
                max_increase_points=max_increase,
                mode=mode,
                simulator=simulator,
            )
        except AdvsimError as error:
            pytest.fail(f"no verdict: {printable(str(error))}", pytrace=False)
        said = printable(" ".join([found.sentence, *found.notes]))
        if found.verdict is IncreaseVerdict.NOT_ENOUGH_EVIDENCE and otherwise == "skip":
            pytest.skip(said)
        if found.verdict is not IncreaseVerdict.NOT_WORSE:
            pytest.fail(said, pytrace=False)
        return found
