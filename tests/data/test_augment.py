import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from bitspike.data.augment import ELASTIC_SIGMA, MODES_PER_PIXEL, Augment, _basis, _rms_one
from bitspike.errors import DataError, UsageError

FULL = Augment(rotation=8, scale=0.08, shear=0.08, shift=1, elastic=0.3, flip=True)


def pictures(n: int = 20, height: int = 28, width: int = 28) -> Tensor:
    return torch.randint(0, 256, (n, height, width), dtype=torch.uint8, generator=generator(7))


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blob(height: int = 28, width: int = 28, y: float = 13.5, x: float = 13.5) -> Tensor:
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    return (255 * torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 8)).round().to(torch.uint8)


def centre(images: Tensor) -> Tensor:
    """Centre of mass (y, x) of each image, `(n, 2)`."""
    mass = images.double()
    rows, columns = torch.arange(images.shape[1]).double(), torch.arange(images.shape[2]).double()
    total = mass.sum((1, 2))
    return torch.stack([(mass.sum(2) * rows).sum(1) / total, (mass.sum(1) * columns).sum(1) / total], 1)


def test_inactive_returns_its_input() -> None:
    images = pictures()
    assert not Augment().active
    assert Augment()(images, generator()) is images
    for field in dataclasses.fields(Augment):
        assert Augment(**{field.name: field.type == "bool" or 0.5}).active


@pytest.mark.parametrize("size", [(28, 28), (8, 8), (5, 13), (1, 24), (34, 21)])
@pytest.mark.parametrize("augment", [FULL, Augment(rotation=30), Augment(elastic=2), Augment(flip=True)])
def test_keeps_shape_and_type_and_is_decided_by_the_generator(
    size: tuple[int, int], augment: Augment
) -> None:
    images = pictures(20, *size)
    before = images.clone()
    one, two = augment(images, generator(3)), augment(images, generator(3))
    assert one.dtype == torch.uint8
    assert one.shape == images.shape
    assert torch.equal(one, two)
    assert torch.equal(images, before)
    assert not torch.equal(one, augment(images, generator(4)))


@pytest.mark.parametrize("augment", [FULL, Augment(rotation=30), Augment(elastic=2), Augment(flip=True)])
@pytest.mark.parametrize("size", [(28, 28), (5, 13), (1, 24)])
@pytest.mark.parametrize("n", [1, 20])
def test_channels_move_alike(n: int, size: tuple[int, int], augment: Augment) -> None:
    images = torch.randint(0, 256, (n, *size, 3), dtype=torch.uint8, generator=generator(8))
    before, noise = images.clone(), generator(3)
    out = augment(images, noise)
    assert (out.dtype, out.shape, out.is_contiguous()) == (torch.uint8, images.shape, True)
    assert torch.equal(images, before)
    for channel in range(3):  # each as a grey image would, by the same random numbers
        grey = generator(3)
        assert torch.equal(out[..., channel], augment(images[..., channel], grey))
        assert torch.equal(noise.get_state(), grey.get_state())
    assert torch.equal(augment(images[..., :1], generator(3))[..., 0], out[..., 0])


@pytest.mark.parametrize("channels", [(), (3,)])
def test_random_numbers_are_drawn_on_the_cpu(channels: tuple[int, ...]) -> None:
    """Tensors of the meta device have shapes only; all but matrix products refuse to meet another device there."""
    images = torch.zeros((6, 9, 14, *channels), dtype=torch.uint8)
    here, there = generator(), generator()
    FULL(images, here)
    out = FULL(images.to("meta"), there)
    assert (out.device.type, out.dtype, out.shape) == ("meta", torch.uint8, images.shape)
    assert torch.equal(here.get_state(), there.get_state())


@pytest.mark.gpu
@pytest.mark.parametrize("channels", [(), (3,)])
def test_gpu_moves_images_alike(channels: tuple[int, ...]) -> None:
    images = torch.randint(0, 256, (50, 28, 28, *channels), dtype=torch.uint8, generator=generator(7))
    here, there = FULL(images, generator()), FULL(images.cuda(), generator())
    assert there.device.type == "cuda"
    difference = (here.int() - there.cpu().int()).abs()
    assert int(difference.max()) <= 1  # an intensity near a half is rounded either way
    assert float(difference.float().mean()) < 0.01


def test_does_not_depend_on_threads() -> None:
    images, threads = pictures(200), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = FULL(images, generator())
        torch.set_num_threads(2)
        two = FULL(images, generator())
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one, two)


def test_uses_only_the_given_generator() -> None:
    state = torch.get_rng_state()
    FULL(pictures(), generator())
    assert torch.equal(torch.get_rng_state(), state)


def test_flip_mirrors_half_of_the_images() -> None:
    images = pictures(400)
    out = Augment(flip=True)(images, generator())
    same = (out == images).flatten(1).all(1)
    mirrored = (out == images.flip(2)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 160 < int(mirrored.sum()) < 240


def test_identity_grid_samples_the_pixels_themselves() -> None:
    images = pictures(9, 28, 17)
    assert torch.equal(Augment(shift=1e-12)(images, generator()), images)


def test_shift_moves_by_up_to_that_many_pixels() -> None:
    images = blob().expand(500, 28, 28)
    moved = centre(Augment(shift=2.0)(images, generator())) - 13.5
    assert moved.abs().max() <= 2.05
    assert moved.min() < -1.9
    assert moved.max() > 1.9
    assert (moved.std(0) - 2 / math.sqrt(3)).abs().max() < 0.1  # uniform
    assert torch.corrcoef(moved.T)[0, 1].abs() < 0.15


@pytest.mark.parametrize(("height", "width"), [(28, 28), (28, 40)])
def test_rotation_turns_about_the_middle(height: int, width: int) -> None:
    middle = ((height - 1) / 2, (width - 1) / 2)
    images = blob(height, width, y=middle[0], x=middle[1] + 8).expand(500, height, width)
    where = centre(Augment(rotation=20)(images, generator())) - torch.tensor(middle)
    angle = torch.rad2deg(torch.atan2(where[:, 0], where[:, 1]))
    assert (where.norm(dim=1) - 8).abs().max() < 0.1
    assert angle.abs().max() < 20.5
    assert angle.min() < -18
    assert angle.max() > 18


def test_scale_and_shear_act_per_axis() -> None:
    right, low = blob(x=13.5 + 6).expand(300, 28, 28), blob(y=13.5 + 6).expand(300, 28, 28)
    scaled = [centre(Augment(scale=0.1)(images, generator())) - 13.5 for images in (right, low)]
    for distances, still in ((scaled[0][:, 1], scaled[0][:, 0]), (scaled[1][:, 0], scaled[1][:, 1])):
        assert still.abs().max() < 0.1
        assert 6 / 1.1 - 0.1 < distances.min() < 5.7
        assert 6.3 < distances.max() < 6 / 0.9 + 0.1
    assert (scaled[0][:, 1] - scaled[1][:, 0]).abs().max() > 0.5  # drawn separately
    sheared = centre(Augment(shear=0.2)(low, generator())) - 13.5
    assert (sheared[:, 0] - 6).abs().max() < 0.1
    assert 1.1 < sheared[:, 1].abs().max() < 1.3
    assert (centre(Augment(shear=0.2)(right, generator())) - 13.5 - torch.tensor([0, 6])).abs().max() < 0.1


def test_elastic_field_has_the_stated_amplitude_and_smoothness() -> None:
    """The field is read off a ramp: bilinear sampling of I = 6 x returns 6 times the distorted x.

    Compared with noise smoothed by scipy (border reflected, so its variance is lower in the middle) of rms 1.
    """
    smooth = gaussian_filter1d(np.eye(40), ELASTIC_SIGMA, mode="reflect")
    covariance = smooth @ smooth.T * 40 / np.trace(smooth @ smooth.T)
    ramp = (6 * torch.arange(40)).to(torch.uint8).expand(2000, 40, 40)
    field = (Augment(elastic=1.0)(ramp, generator()).double() - ramp) / 6
    for lag in (0, 2, 4, 8):
        product = float((field[:, 20, 20] * field[:, 20, 20 - lag]).mean())
        expected = covariance[20, 20] * covariance[20, 20 - lag] / 3  # E[a^2] = 1/3 of a in U(-1, 1)
        assert abs(product - expected) < 0.03


@pytest.mark.parametrize("size", [1, 8, 28, 40, 64])
def test_elastic_modes_are_those_of_smoothed_noise(size: int) -> None:
    basis = _basis(size, MODES_PER_PIXEL)[:, :-1]
    modes = basis * _rms_one(size, basis.shape[1])
    smooth = gaussian_filter1d(np.eye(size), ELASTIC_SIGMA, mode="reflect")
    covariance = torch.from_numpy(smooth @ smooth.T * size / np.trace(smooth @ smooth.T))
    assert (modes @ modes.T - covariance).abs().max() < 0.01


def test_ink_stays_ink() -> None:
    images = torch.zeros(50, 28, 28, dtype=torch.uint8)
    images[:, 8:20, 8:20] = 255
    out = FULL(images, generator()).double()
    assert (out[:, 12:16, 12:16] == 255).all()
    assert out[:, :3].amax() == 0
    assert out[:, :, :3].amax() == 0
    assert abs(float(out.mean() / images.double().mean()) - 1) < 0.03


@pytest.mark.parametrize(
    "settings",
    [{"rotation": -1.0}, {"shift": math.nan}, {"elastic": math.inf}, {"scale": 1.0}, {"shear": -0.1}],
)
def test_refuses_settings(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(settings))):
        Augment(**settings)  # type: ignore[arg-type]


def test_refuses_other_inputs() -> None:
    with pytest.raises(DataError, match="uint8"):
        FULL(pictures().float(), generator())
    with pytest.raises(DataError, match="uint8"):
        FULL(pictures().flatten(1), generator())
    with pytest.raises(DataError, match=r"give uint8 \(n, h, w\) or \(n, h, w, c\)"):
        FULL(pictures()[:, None, None], generator())
