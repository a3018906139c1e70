"""Train an epoch of every rule on the other device; prints, per rule, whether bits are those of the reference.

Run in a process of its own by test_elsewhere.py.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import torch

from bitspike.coding import Poisson
from bitspike.data import load, split
from bitspike.data.augment import Augment
from bitspike.experiment import Experiment, Training
from bitspike.recipes import RECIPES
from bitspike.settings import IF, LIF, SRM
from bitspike.training import trainer as module
from bitspike.training.trainer import Trainer
from elsewhere import Elsewhere, start

SMALL = {
    "bs4nn-digits": {"network": IF((8,)), "augment": Augment(rotation=5.0)},
    "s4nn-digits": {"network": IF((8,))},
    "bs4nn-mnist-paper": {"network": IF((8,), delay=1)},
    "bnn-digits": {"network": IF((8,)), "augment": Augment()},
    "hm2bp-digits": {"network": LIF(("8",), (6.0, 4.0)), "augment": Augment(), "coding": Poisson(20, 0.5)},
    "bayes-bisnn-moons": {"network": SRM(("8",), bias=True, burn_in=4)},
}


def experiment_of(name: str) -> Experiment:
    """A recipe made small, in plain PyTorch."""
    recipe = RECIPES[name]
    data = recipe.data if recipe.data.name == "moons" else replace(recipe.data, name="digits")
    training = Training(epochs=1, batch_size=20)
    own = {"rule": replace(recipe.rule, desired=8.0, margin=1.0)} if name == "hm2bp-digits" else {}
    return replace(recipe, data=data, backend="reference", training=training, **SMALL[name], **own)


def trained(experiment: Experiment, device: str) -> Trainer:
    """One epoch."""
    module.resolve_device = lambda _: device
    dataset = load(experiment.data.name)
    parts = split(dataset, experiment.data.validation, experiment.split_seed)
    rows = slice(0, 40)
    few = {
        f"{name}_{what}": vars(parts)[f"{name}_{what}"][rows]
        for name in ("train", "validation")
        for what in ("inputs", "labels")
    }
    parts = replace(parts, **few)
    trainer = Trainer(experiment, parts, dataset.n_outputs, dataset.shape)
    trainer.run()
    return trainer


def main() -> int:
    """All rules; 1 where bits differ."""
    device, failed = start(), 0
    adam = torch.optim.AdamW  # fused kernels are for CPU and CUDA; here both sides take the same steps
    torch.optim.AdamW = lambda groups, fused, **options: adam(groups, fused=False, **options)
    for name in SMALL:
        experiment = experiment_of(name)
        near, far = trained(experiment, "cpu"), trained(experiment, str(device))
        state = far.network.state_dict()
        lies_there = all(type(tensor.data) is Elsewhere for tensor in state.values())
        equal = all(torch.equal(near.network.state_dict()[key], state[key].cpu()) for key in state)
        equal &= all(
            torch.equal(tensor, far.learner.state_dict()[key].cpu())
            for key, tensor in near.learner.state_dict().items()
        )
        (_, chosen), (network, there) = near.finish(), far.finish()
        failed += not (equal and lies_there and chosen == there and network.decide(far.validation.inputs))
        print(f"{name}: {'equal' if equal else 'differs'}, {'there' if lies_there else 'not there'}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
