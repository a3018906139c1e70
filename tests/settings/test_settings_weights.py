"""Where latents start: the distributions by settings, layer by layer, reproducible by seed."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from bitspike.errors import UsageError
from bitspike.settings import Weights


def draw(weights: Weights, *shape: int, layer: int = 0, is_output: bool = False, **more: Any) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return weights.initial(*shape, layer=layer, is_output=is_output, generator=generator, **more)


def uniform(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(3))


def test_uniform_lies_between_low_and_high_of_the_kind_of_layer() -> None:
    weights = Weights(hidden=(-1.0, 3.0), output=(0.0, 48.0), conv=(-0.25, 0.25))
    assert torch.equal(draw(weights, 7, 5), uniform(7, 5) * (3.0 - -1.0) + -1.0)
    assert torch.equal(draw(weights, 7, 5, is_output=True, layer=4), uniform(7, 5) * 48.0 + 0.0)
    assert torch.equal(draw(weights, 3, 3, 2, 5), uniform(3, 3, 2, 5) * 0.5 - 0.25)
    assert torch.equal(draw(weights, 5), uniform(5) * 4.0 - 1.0)  # biases


def test_ends_are_low_or_high() -> None:
    drawn = draw(Weights(hidden=(-5.0, 7.0), ends=True), 40, 50)
    assert torch.equal(drawn, torch.where(uniform(40, 50) < 0.5, -5.0, 7.0))


def test_normal_has_the_deviation_gain() -> None:
    weights = Weights("real", init="normal", gain=(0.5, 2.0))
    for layer, gain in enumerate(weights.gain):
        drawn = draw(weights, 200, 100, layer=layer)
        assert drawn.dtype == torch.float32
        assert float(drawn.std()) == pytest.approx(gain, rel=0.02)
        assert float(drawn.mean()) == pytest.approx(0, abs=0.02 * gain)
    assert torch.equal(
        draw(Weights("real", init="normal"), 4, 4, layer=9), draw(Weights("real", init="normal"), 4, 4)
    )


def test_xavier_is_uniform_within_glorots_bound() -> None:
    """Glorot and Bengio 2010, equation 16; torch's own initialisation has the same bound."""
    weights = Weights("real", init="xavier", gain=(1.5,))
    bound = 1.5 * math.sqrt(6 / (300 + 100))
    drawn = draw(weights, 300, 100)
    assert torch.equal(drawn, uniform(300, 100) * (2 * bound) - bound)
    assert bound * 0.999 < float(drawn.abs().max()) <= bound
    other = torch.empty(300, 100)
    torch.nn.init.xavier_uniform_(other, gain=1.5)
    assert float(other.abs().max()) == pytest.approx(float(drawn.abs().max()), rel=1e-2)


def test_the_fans_of_a_convolution_are_those_of_its_window() -> None:
    drawn = draw(Weights("real", init="xavier"), 5, 5, 16, 32)
    bound = math.sqrt(6 / (25 * 16 + 25 * 32))
    assert bound * 0.999 < float(drawn.abs().max()) <= bound
    torch_order = torch.empty(32, 16, 5, 5)
    torch.nn.init.xavier_uniform_(torch_order)
    assert float(torch_order.abs().max()) == pytest.approx(bound, rel=1e-2)


def test_fans_can_be_given_where_the_shape_does_not_say_them() -> None:
    few = draw(Weights("real", init="xavier"), 300, 2, fans=(300, 100))
    bound = math.sqrt(6 / 400)
    assert torch.equal(few, uniform(300, 2) * (2 * bound) - bound)
    bias = draw(Weights("real", init="xavier"), 100, fans=(300, 100))
    assert torch.equal(bias, uniform(100) * (2 * bound) - bound)


def test_gains_name_the_layers_that_they_do_not_fit() -> None:
    weights = Weights("real", init="normal", gain=(1.0, 2.0))
    with pytest.raises(UsageError, match=r"2 numbers; there is none for layer 3"):
        draw(weights, 4, 4, layer=2)
    with pytest.raises(
        UsageError, match=r"3 layers have weights \(15C5, 300, output\); give one number, or 3"
    ):
        weights.check_layers(("15C5", "300", "output"))
    weights.check_layers(("300", "output"))
    weights.check_layers(())


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"gain": ()}, "gain is empty"),
        (
            {"init": "normal", "gain": (1.0, -1.0)},
            r"weights\.gain is \(1\.0, -1\.0\); each of them must be a number, above 0",
        ),
        ({"gain": (2.0,)}, "belongs to weights.init normal or xavier"),
        ({"init": "xavier", "ends": True}, "belongs to weights.init uniform, not xavier"),
        ({"hidden": (0.0, math.inf)}, r"weights\.hidden"),
        ({"conv": (1.0,)}, r"weights\.conv"),
        ({"clip": 0.0}, r"weights\.clip is 0\.0; it must be a number, above 0, or None"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Weights(**settings)


def test_forward_and_bound() -> None:
    latent = torch.tensor([-2.0, -0.0, 0.5], requires_grad=True)
    weight = Weights("binary").forward(latent)
    assert weight.tolist() == [-1.0, 1.0, 1.0]
    weight.sum().backward()
    assert latent.grad is not None
    assert latent.grad.tolist() == [1.0, 1.0, 1.0]
    Weights("binary", clip=1.5).bound(latent)
    assert latent.tolist() == [-1.5, -0.0, 0.5]
    Weights("real", clip=None).bound(latent)
    assert Weights("real").forward(latent) is latent
