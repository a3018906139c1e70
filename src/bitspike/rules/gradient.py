"""What learners with a torch optimiser share: step sizes, their schedule, processes, state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bitspike.contracts import Learner, Progress
from bitspike.errors import DataError
from bitspike.settings import Optimizer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bitspike.networks.base import Network

PREFIX = "optimiser."
MOMENTS = {"adam": {"step", "exp_avg", "exp_avg_sq"}, "sgd": set[str]()}


class GradientLearner(Learner):
    """`optimiser` moves the parameters of `groups`; `model` is the network, or what averages its gradients.

    A step takes the first step size of each group times `settings.factor`; call `follow` before each.
    """

    def __init__(self, network: Network, settings: Optimizer, groups: Sequence[dict[str, Any]]) -> None:
        self.model: nn.Module = network
        self.settings = settings
        self.optimiser = settings.build(list(groups))
        self.first = [float(group["lr"]) for group in self.optimiser.param_groups]

    def follow(self, progress: Progress) -> None:
        """Set the step sizes of this moment."""
        factor = self.settings.factor(progress.share, progress.epoch)
        for group, first in zip(self.optimiser.param_groups, self.first, strict=True):
            group["lr"] = first * factor

    def share(self, wrap: Callable[[nn.Module], nn.Module]) -> None:
        """The wrapped network computes, and its backward pass averages gradients."""
        self.model = wrap(self.model)

    def state_dict(self) -> dict[str, Tensor]:
        """`optimiser.K.NAME`: what the optimiser knows of parameter K."""
        import torch

        return {
            f"{PREFIX}{index}.{name}": torch.as_tensor(value)
            for index, values in self.optimiser.state_dict()["state"].items()
            for name, value in values.items()
            if value is not None
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what the optimiser knew; step sizes and the rest are those of the present settings.

        An optimiser of another name forgets it.
        """
        found: dict[int, dict[str, Tensor]] = {}
        parameters = [parameter for group in self.optimiser.param_groups for parameter in group["params"]]
        for full, tensor in state.items():
            index, _, name = full.removeprefix(PREFIX).partition(".")
            if not full.startswith(PREFIX) or not index.isdecimal() or int(index) >= len(parameters):
                raise DataError(f"{full!r} is not of this optimiser")
            shape = parameters[int(index)].shape
            if not tensor.dtype.is_floating_point or tensor.shape not in ((), shape):
                raise DataError(f"{full!r} is {tuple(tensor.shape)}, the parameter {tuple(shape)}")
            found.setdefault(int(index), {})[name] = tensor.clone()
        names = MOMENTS[self.settings.name]
        for place, values in found.items():
            if names and values.keys() != names:
                raise DataError(f"{PREFIX}{place} holds {sorted(values)}; expected {sorted(names)}")
        known = self.optimiser.state_dict()
        try:
            self.optimiser.load_state_dict(
                {"state": found if names else {}, "param_groups": known["param_groups"]}
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the optimiser's state does not fit ({error})") from error


def take_back(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Copy the tensors of these names back, in place; one that is missing or does not fit raises `DataError`."""
    for name, tensor in own.items():
        given = state.get(name)
        if given is None or given.shape != tensor.shape or given.dtype != tensor.dtype:
            raise DataError(f"{name!r} is missing or has another shape than {tuple(tensor.shape)}")
        tensor.copy_(given)
