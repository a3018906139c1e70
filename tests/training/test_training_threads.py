"""One thread or two: the first-spike rules train to the same bits."""

from dataclasses import replace

import pytest
import torch

from bitspike.experiment import Data
from bitspike.ops.backend import native_available
from bitspike.recipes import RECIPES
from bitspike.training import train


@pytest.mark.skipif(not native_available(), reason="the native module was not built")
@pytest.mark.parametrize("name", ["bs4nn-digits", "s4nn-digits"])
def test_threads_do_not_change_a_bit(name, tmp_path):
    recipe = RECIPES[name]
    experiment = replace(recipe, data=Data(validation=0.6), training=replace(recipe.training, epochs=2))
    before = torch.get_num_threads()
    checkpoints = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            result = train(experiment, tmp_path / str(threads), progress=False)
            checkpoints.append((result.folder / "checkpoint.safetensors").read_bytes())
    finally:
        torch.set_num_threads(before)
    assert checkpoints[0] == checkpoints[1]
