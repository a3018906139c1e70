"""A finished run for the verbs that need one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitspike.cli import main

SMALL = ("--network.hidden", "24", "--training.epochs", "6", "--seed=3")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run; tests leave it as they find it."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["train", "bs4nn-digits", *SMALL, "--out", str(folder)]) == 0
    return folder
