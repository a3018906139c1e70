"""What tests of packed networks share."""

from __future__ import annotations

import numpy as np
import pytest

from bitspike.packed.decisions import Decisions


@pytest.fixture
def poisoned_decisions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results start as garbage, so one that is not written is found."""

    def poisoned(n: int, n_classes: int) -> Decisions:
        decisions = empty(n, n_classes)
        for array in vars(decisions).values():
            array.view(np.uint8)[...] = 1 if array.dtype == np.bool_ else 0xAB
        return decisions

    empty = Decisions.empty
    monkeypatch.setattr(Decisions, "empty", staticmethod(poisoned))
