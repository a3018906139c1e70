import math

import numpy as np
import pytest
import torch

from bitspike.data.distortion import Distortion
from bitspike.errors import DataError, UsageError

IMAGES = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (6, 9, 14), np.uint8))


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("share", ["image", "epoch"])
def test_shape_dtype_and_determinism(share: str) -> None:
    distortion = Distortion(share=share)  # type: ignore[arg-type]
    before = IMAGES.clone()
    result = distortion(IMAGES, seeded())
    assert (result.shape, result.dtype) == (IMAGES.shape, torch.uint8)
    assert torch.equal(result, distortion(IMAGES, seeded()))
    assert not torch.equal(result, distortion(IMAGES, seeded(2)))
    assert torch.equal(IMAGES, before)


@pytest.mark.parametrize("share", ["image", "epoch"])
def test_nothing_asked_nothing_done(share: str) -> None:
    distortion = Distortion(0.0, 0.0, 0.0, share)  # type: ignore[arg-type]
    assert not distortion.active
    assert torch.equal(distortion(IMAGES, seeded()), IMAGES)
    assert torch.equal(distortion.apply(IMAGES, torch.zeros(1, 2, 9, 14)), IMAGES)
    assert torch.equal(distortion.apply(IMAGES, torch.zeros(6, 2, 9, 14)), IMAGES)
    assert all(Distortion(*part).active for part in ((0.1, 0, 0), (0, 1, 0), (0, 0, 1)))


def draws(distortion: Distortion, height: int, width: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The random numbers of `field`: r_x, r_y `(2, n)` and noise `(n, noises, height, width)`."""
    generator = seeded()
    noises = 2 if distortion.share == "image" else 1
    factors = torch.rand((2, n, 1), generator=generator)[:, :, 0] * 2 - 1
    noise = torch.rand((height, n * noises * width), generator=generator) * 2 - 1
    return factors.double().numpy(), noise.view(height, n, noises, width).permute(1, 2, 0, 3).double().numpy()


@pytest.mark.parametrize(
    "distortion",
    [Distortion(), Distortion(share="epoch"), Distortion(0.3, 0.0, 2.0), Distortion(0.0, 40.0, 0.0)],
)
def test_field_is_that_of_the_specification(distortion: Distortion) -> None:
    height, width, n = 9, 24, 3 if distortion.share == "image" else 1  # one side beyond the window of 21
    factors, noise = draws(distortion, height, width, n)
    fields = distortion.field(height, width, seeded(), n).numpy()
    for k in range(n):
        r_x, r_y = factors[:, k]
        angle = math.radians(distortion.rotation) * r_x
        if distortion.rotation:
            r_x, r_y = max(r_x, 0.0), max(r_y, 0.0)
        for row in range(height):
            for column in range(width):
                smooth = [0.0, 0.0]
                for axis in range(2):
                    for i in range(max(0, row - 10), min(height, row + 11)):
                        for j in range(max(0, column - 10), min(width, column + 11)):
                            square = (i - row) ** 2 + (j - column) ** 2
                            weight = math.exp(-square / (2 * 4**2)) / (2 * math.pi * 4)
                            smooth[axis] += weight * noise[k, axis % noise.shape[1], i, j]
                x, y = column - (width - 1) / 2, row - (height - 1) / 2
                d_x = distortion.elastic * smooth[0] + distortion.scale * r_x * x
                d_y = distortion.elastic * smooth[1] + distortion.scale * r_y * y
                d_x += (math.cos(angle) - 1) * x - math.sin(angle) * y
                d_y += math.sin(angle) * x + (math.cos(angle) - 1) * y
                assert fields[k, :, row, column] == pytest.approx((d_x, d_y), abs=1e-5)


@pytest.mark.parametrize("n", [1, 6])
def test_sampling_is_bilinear_and_black_outside(n: int) -> None:
    _, height, width = IMAGES.shape
    field = torch.rand((n, 2, height, width), generator=seeded()) * 8 - 4
    result = Distortion().apply(IMAGES, field)

    def pixel(k: int, row: int, column: int) -> float:
        return float(IMAGES[k, row, column]) if 0 <= row < height and 0 <= column < width else 0.0

    for k in range(len(IMAGES)):
        for row in range(height):
            for column in range(width):
                d_x, d_y = field[k % n, :, row, column].tolist()
                x, y = column - d_x, row - d_y
                left, top = math.floor(x), math.floor(y)
                value = sum(
                    pixel(k, top + i, left + j) * (1 - abs(y - top - i)) * (1 - abs(x - left - j))
                    for i in range(2)
                    for j in range(2)
                )
                assert abs(int(result[k, row, column]) - value) < 0.501 + 1e-3


def test_scale_only_enlarges_while_there_is_rotation() -> None:
    fields = Distortion(rotation=1e-9, elastic=0.0).field(28, 28, seeded(), 400)
    outward = fields[:, :, -1, -1] / (13.5 * 0.12)  # max(r, 0)
    assert outward.min() > -1e-6
    assert 0.9 < outward.max() <= 1
    assert 0.4 < float((outward > 1e-6).float().mean()) < 0.6
    free = Distortion(rotation=0.0, elastic=0.0).field(28, 28, seeded(), 400)[:, :, -1, -1] / (13.5 * 0.12)
    assert torch.allclose(free.clamp(min=0), outward, atol=1e-6)
    assert free.min() < -0.9
    square = torch.zeros((1, 28, 28), dtype=torch.uint8)
    square[:, 10:18, 10:18] = 255
    enlarged = [Distortion(0.5, 1e-9, 0.0)(square, seeded(seed)).float().sum() for seed in range(20)]
    assert min(enlarged) >= square.float().sum() * 0.999
    assert max(enlarged) > 1.5 * square.float().sum()


def test_amplitude_of_the_elastic_field() -> None:
    field = Distortion(scale=0.0, rotation=0.0).field(28, 28, seeded(), 3000)
    weights = np.exp(-(np.arange(-10, 11) ** 2) / 32) / math.sqrt(8 * math.pi)
    rms = 3.4 * (weights**2).sum() / math.sqrt(3)  # uniform noise has a variance of 1/3
    assert rms == pytest.approx(0.55, abs=0.01)
    assert float(field[:, :, 14, 14].square().mean().sqrt()) == pytest.approx(rms, rel=0.05)
    neighbours = (field[:, :, 14, 14] * field[:, :, 14, 18]).mean() / rms**2
    assert float(neighbours) == pytest.approx(math.exp(-(4**2) / (4 * 4**2)), abs=0.05)
    crossed = (field[:, 0, 14, 14] * field[:, 1, 14, 14]).mean() / rms**2
    assert abs(float(crossed)) < 0.06  # an image's two noises are drawn apart


def test_field_of_an_epoch_is_shared() -> None:
    distortion = Distortion(share="epoch")
    whole = distortion(IMAGES, seeded())
    parts = [distortion(part, seeded()) for part in IMAGES.split(4)]  # batches of one epoch
    assert torch.equal(torch.cat(parts), whole)
    field = distortion.field(9, 14, seeded())
    assert torch.equal(distortion.apply(IMAGES, field), whole)
    assert torch.equal(distortion.apply(IMAGES, field.expand(6, -1, -1, -1)), whole)
    elastic = Distortion(0.0, 0.0, share="epoch").field(9, 14, seeded())
    assert torch.equal(elastic[:, 0], elastic[:, 1])


@pytest.mark.parametrize("share", ["image", "epoch"])
def test_channels_move_alike(share: str) -> None:
    distortion = Distortion(share=share)  # type: ignore[arg-type]
    colour = torch.stack([IMAGES, IMAGES.flip(0), 255 - IMAGES], dim=3)
    noise = seeded()
    out = distortion(colour, noise)
    assert (out.dtype, out.shape, out.is_contiguous()) == (torch.uint8, colour.shape, True)
    for channel in range(3):  # each as a grey image would, by the same random numbers
        grey = seeded()
        assert torch.equal(out[..., channel], distortion(colour[..., channel], grey))
        assert torch.equal(noise.get_state(), grey.get_state())
    assert torch.equal(distortion(colour[..., :1], seeded())[..., 0], out[..., 0])
    assert torch.equal(distortion(colour[:1], seeded())[..., 0], distortion(IMAGES[:1], seeded()))


@pytest.mark.parametrize("share", ["image", "epoch"])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_random_numbers_are_drawn_on_the_cpu(share: str, channels: tuple[int, ...]) -> None:
    """Tensors of the meta device have shapes only; all but matrix products refuse to meet another device there."""
    distortion = Distortion(share=share)  # type: ignore[arg-type]
    images = torch.zeros((6, 9, 14, *channels), dtype=torch.uint8)
    here, there = seeded(), seeded()
    distortion(images, here)
    out = distortion(images.to("meta"), there)
    assert (out.device.type, out.dtype, out.shape) == ("meta", torch.uint8, images.shape)
    assert torch.equal(here.get_state(), there.get_state())
    assert distortion.field(9, 14, seeded(), 2, "meta").device.type == "meta"


@pytest.mark.gpu
@pytest.mark.parametrize("share", ["image", "epoch"])
def test_gpu_moves_images_alike(share: str) -> None:
    distortion = Distortion(share=share)  # type: ignore[arg-type]
    colour = torch.stack([IMAGES, IMAGES.flip(0), 255 - IMAGES], dim=3)
    for images in (IMAGES, colour):
        here, there = distortion(images, seeded()), distortion(images.cuda(), seeded())
        assert there.device.type == "cuda"
        assert int((here.int() - there.cpu().int()).abs().max()) <= 1  # rounded either way near a half


def test_images_have_their_own_fields() -> None:
    same = IMAGES[:1].expand(5, -1, -1)
    assert len({bytes(image.numpy()) for image in Distortion()(same, seeded())}) == 5
    assert len({bytes(image.numpy()) for image in Distortion(share="epoch")(same, seeded())}) == 1


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", ["scale", "rotation", "elastic"])
def test_refuses_settings(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"augment.{name}"):
        Distortion(**{name: value})  # type: ignore[arg-type]


def test_refuses_more() -> None:
    with pytest.raises(UsageError, match="below 1"):
        Distortion(scale=1.0)
    with pytest.raises(UsageError, match="per 'image' or per 'epoch'"):
        Distortion(share="batch")  # type: ignore[arg-type]
    for images in (IMAGES.float(), IMAGES[0], IMAGES[:, None, None]):
        with pytest.raises(DataError, match="give uint8"):
            Distortion()(images, seeded())
    with pytest.raises(DataError, match="do not fit"):
        Distortion().apply(IMAGES, torch.zeros(2, 2, 9, 14))
