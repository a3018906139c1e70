"""What all tests share: poisoned memory, and the folder of benchmark data where there is one."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read as torch loads; tests run beside other processes

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Shapes and types at the borders of these modules are checked while tests run.
install_import_hook(
    ["bitspike.prediction", "bitspike.networks", "bitspike.ops.first_spike.function"], "beartype.beartype"
)

# No test depends on the speed of the machine: examples may take as long as they take.
settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("any machine")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tests are small and CI machines are shared: a second thread would mostly wait."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """A shell starts what it runs in the background deaf to Ctrl-C, and every process below inherits that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def poison() -> Iterator[None]:
    """`torch.empty` gives NaN and largest integers, so a kernel that forgets an element is found."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder that BITSPIKE_DATA names; the test is skipped where it is not set."""
    folder = os.environ.get("BITSPIKE_DATA")
    if not folder:
        pytest.skip("BITSPIKE_DATA is not set: no benchmark data on this machine")
    return Path(folder)
