"""Spike trains on maps: the specification's vectors (13.5) through the reference; native kernels against it."""

import pytest
import torch

from bitspike.errors import UsageError
from bitspike.ops.backend import native_available
from bitspike.ops.lif import reference
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.lif.settings import Adjoint
from bitspike.ops.lif.signals import Current, Spikes, pack, unpack
from bitspike.ops.operators import Conv, Dense, Pool

needs_native = pytest.mark.skipif(not native_available(), reason="the native module was not built")
ISAS = __import__("bitspike._native", fromlist=["x"]).instruction_sets() if native_available() else []

# --- specification 13.5: 4x4 input, one 3x3 filter, 2x2 pooling, T = 40 ---

KERNEL = torch.tensor([[1, -0.5, 0.5], [0.5, 1, 0], [-0.5, 0.5, 1]], dtype=torch.float64)
CONV, POOL = Conv(4, 4, 1, 1, 3), Pool(2, 2, 1, 2)
CONV_NEURON, POOL_NEURON = Neuron(1.5, epsilon=1e-6), Neuron(1.0, epsilon=1e-6)
TRAINS = [
    [6, 11, 15, 19, 23, 27, 31, 35, 39],
    [6, 11, 16, 21, 26, 31, 36],
    [10, 15, 19, 23, 27, 31, 35, 39],
    [6, 12, 17, 22, 27, 32, 37],
]
VECTORS = {
    "closed": {
        "e_pool": [3.0830911636, 2.5341291897, 2.5987192757, 2.4050174572],
        "s_conv": [0.96409789, 1.16710820, 1.00532559, 1.11671223],
        "d_conv": [0.17128284, 0.18100923, 0.16241995, 0.17178696],
        "d_kernel": [
            [4.24997695, 3.41274518, 2.66681089],
            [4.02257834, 3.23885973, 2.86320255],
            [3.94940157, 3.07683357, 2.89484787],
        ],
        "d_input": [
            [0.04512604, 0.02635073, -0.00225373, 0.02497334],
            [0.06210766, 0.09458486, 0.04669549, 0.02270272],
            [0.00017780, 0.05605124, 0.12961378, 0.04826736],
            [-0.02099213, -0.00260028, 0.06816841, 0.04947191],
        ],
    },
    "trace": {
        "e_pool": [3.4097667449, 3.0231039308, 2.7005610851, 2.9381207997],
        "d_conv": [0.18943149, 0.21593600, 0.16878507, 0.20986577],
        "d_kernel": [
            [5.82653305, 4.76081204, 3.82474228],
            [5.47076443, 4.78540563, 3.94783572],
            [5.45614936, 4.35591991, 3.78691683],
        ],
        "d_input": [
            [0.05710030, 0.03683366, -0.00784419, 0.03447330],
            [0.07442514, 0.13492269, 0.06275965, 0.03098035],
            [-0.00195081, 0.08438046, 0.15097964, 0.06411308],
            [-0.02461709, -0.00725668, 0.08489772, 0.06779005],
        ],
    },
}


def _pixels() -> Spikes:
    dense = torch.zeros((1, 40, 16))
    for k in range(16):
        dense[0, 1 + k % 5 :: 3 + k % 4, k] = 1
    return pack(dense)


def _near(actual, expected, digits):
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(actual.reshape(expected.shape), expected, rtol=0, atol=0.6 * 10.0**-digits)


@pytest.fixture(scope="module")
def maps():
    weight = KERNEL[:, :, None, None]
    x = _pixels()
    conv = reference.forward(CONV, x, weight, CONV_NEURON)
    # Pooling has no weight to take its dtype from: the scan is given the current in float64.
    pool = reference.scan(reference.input_current(POOL, conv.spikes, None).double(), POOL_NEURON)
    return x, weight, conv, pool


def test_spikes_of_the_specification(maps):
    _, _, conv, pool = maps
    dense = unpack(conv.spikes, torch.bool)[0]
    assert [dense[:, i].nonzero().flatten().tolist() for i in range(4)] == TRAINS
    assert unpack(pool.spikes, torch.bool).flatten().nonzero().flatten().tolist() == list(range(10, 39, 4))
    _near(conv.tpsp, [15.95454986, 12.57901660, 13.95921658, 13.54921495], 8)
    _near(pool.tpsp, [12.07155256], 8)


@pytest.mark.parametrize("spsp", ["closed", "trace"])
def test_gradients_of_the_specification(maps, spsp):
    x, weight, conv, pool = maps
    how, expected = Adjoint(spsp), VECTORS[spsp]
    ones = torch.ones((1, 1), dtype=torch.float64)
    _, e = reference.backward(POOL, conv.spikes, None, pool.spikes, POOL_NEURON, how, None, ones)
    assert e is not None
    _near(e, expected["e_pool"], 10)
    d_conv = 2 / 4 * e / conv.counts  # dE/do of the pool is 2, its scale the area of the window
    _near(d_conv, expected["d_conv"], 8)

    delta = d_conv / CONV_NEURON.threshold
    a = reference.tpsp(CONV, x, weight, conv.spikes, CONV_NEURON, how)
    into = reference.backward(CONV, x, weight, conv.spikes, CONV_NEURON, how, torch.ones_like(delta), None)[0]
    assert into is not None
    if spsp == "trace":
        torch.testing.assert_close(a, conv.tpsp, rtol=1e-12, atol=0)
    torch.testing.assert_close((into * weight).sum(), a.sum(), rtol=1e-12, atol=0)  # a = sum of w e

    side = a / (CONV_NEURON.threshold * conv.counts)  # S; every neuron fires, so no zero-count rule applies
    if "s_conv" in expected:
        _near(side, expected["s_conv"], 8)
    gradient, error = reference.backward(
        CONV, x, weight, conv.spikes, CONV_NEURON, how, delta * (1 + side), delta
    )
    assert gradient is not None
    assert error is not None
    _near(gradient, expected["d_kernel"], 8)
    _near(error / unpack(x, torch.float64).sum(1), expected["d_input"], 8)


# --- native against reference ---

NEURONS = [Neuron(1.0, 8, 2, 0), Neuron(1.5, 16, 4, 1, epsilon=1e-6), Neuron(0.75, 64, 8, 3)]
OPERATORS = [
    Conv(5, 7, 1, 1, 1),
    Conv(5, 4, 2, 3, 2, padding=1),
    Conv(9, 8, 3, 17, 5, padding=2),
    Conv(6, 6, 5, 40, 3),
    Conv(12, 5, 17, 50, 4, padding=2),
    Conv(4, 5, 40, 16, 3, padding=1),
    Conv(3, 3, 1, 15, 5, padding=2),
    Conv(1, 2, 1, 2, 1, padding=2),  # padding beyond the kernel: outputs that see no input
    Pool(4, 6, 1, 2),
    Pool(7, 5, 5, 2),
    Pool(8, 10, 17, 3),
    Pool(5, 5, 40, 1),
    Pool(14, 15, 3, 7),
    Pool(6, 7, 64, 2),
]


def _case(op, n_steps=23, batch=3, density=0.2):
    g = torch.Generator().manual_seed(op.n_in * op.n_out)
    x = pack(torch.rand((batch, n_steps, op.n_in), generator=g) < density)
    x.bits[-1] = 0  # a sample without any spike
    weight = None
    if isinstance(op, Conv):  # sums of such weights are exact in any order
        weight = torch.randint(-48, 96, op.weight_shape, generator=g) / 64
    scales = torch.randn((2, batch, op.n_out), generator=g)
    other = pack(torch.rand((batch, n_steps, op.n_out), generator=g) < density / 2)
    return x, weight, scales[0], scales[1], other


@pytest.mark.parametrize(
    "op",
    [Dense(3, 4), Conv(5, 6, 2, 3, 3), Conv(7, 4, 1, 2, 3, 2), Conv(3, 3, 2, 1, 5, 1), Pool(5, 7, 2, 2)],
    ids=str,
)
def test_fan_out_counts_the_synapses_of_every_input(op):
    weight = None if op.weight_shape is None else torch.ones(op.weight_shape)
    taps = reference.transpose(op, torch.ones(1, op.n_out), weight)[0]
    assert op.fan_out().tolist() == taps.tolist()


def assert_close(actual, expected):
    assert (actual is None) == (expected is None)
    if expected is not None:
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=2e-6 * float(expected.abs().max()))


@needs_native
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("op", OPERATORS, ids=str)
def test_forward_equals_the_reference(op, isa):
    from bitspike.ops.lif import native_conv

    x, weight, *_ = _case(op)
    for neuron in NEURONS:
        slow = reference.forward(op, x, weight, neuron)
        fast = native_conv.forward(op, x, weight, neuron, isa)
        assert slow.counts[:-1].any() or op.n_out < 16
        assert fast.spikes.n == slow.spikes.n
        assert torch.equal(fast.spikes.bits, slow.spikes.bits)
        assert torch.equal(fast.counts, slow.counts)
        assert torch.equal(fast.tpsp, slow.tpsp)
        assert torch.equal(fast.membrane, slow.membrane)


@needs_native
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    "how", [Adjoint("trace"), Adjoint("closed"), Adjoint("trace", 3), Adjoint("closed", 3)]
)
@pytest.mark.parametrize("op", OPERATORS, ids=str)
def test_backward_equals_the_reference(op, how, isa):
    from bitspike.ops.lif import native_conv

    x, weight, by_weight, by_error, other = _case(op)
    weight_scale = by_weight if isinstance(op, Conv) else None
    for neuron in NEURONS:
        out = reference.forward(op, x, weight, neuron).spikes
        for scales in (
            (weight_scale, by_error),
            (weight_scale, None),
            (None, by_error),
            (by_error, by_error),
        ):
            if scales == (None, None) or (isinstance(op, Pool) and scales[0] is not None):
                continue
            slow = reference.backward(op, x, weight, out, neuron, how, *scales)
            fast = native_conv.backward(op, x, weight, out, neuron, how, *scales, isa)
            assert_close(fast[0], slow[0])
            assert_close(fast[1], slow[1])
        slow_a = reference.tpsp(op, x, weight, other, neuron, how)
        assert_close(native_conv.tpsp(op, x, weight, other, neuron, how, isa), slow_a)


@needs_native
def test_dense_input_takes_the_dense_convolution():
    from bitspike.ops.lif import native_conv

    x, weight, *_ = _case(OPERATORS[2], density=0.7)
    slow = reference.forward(OPERATORS[2], x, weight, NEURONS[1])
    for share in (0.0, 1.0):
        fast = native_conv.forward(OPERATORS[2], x, weight, NEURONS[1], dense_above=share)
        assert torch.equal(fast.spikes.bits, slow.spikes.bits)
        assert torch.equal(fast.membrane, slow.membrane)


@needs_native
@pytest.mark.parametrize("op", [Conv(9, 8, 3, 17, 5, padding=2), Pool(7, 5, 5, 2)], ids=str)
def test_threads_change_no_bit(op):
    from bitspike.ops.lif import native_conv

    x, weight, by_weight, by_error, _ = _case(op, batch=37)
    if weight is not None:
        weight = weight * 1.1  # sums depend on their order
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            out = native_conv.forward(op, x, weight, NEURONS[0])
            scale = by_weight if weight is not None else None
            gradients = native_conv.backward(
                op, x, weight, out.spikes, NEURONS[0], Adjoint(), scale, by_error
            )
            a = native_conv.tpsp(op, x, weight, out.spikes, NEURONS[0], Adjoint())
        finally:
            torch.set_num_threads(1)
        results.append([out.spikes.bits, out.counts, out.tpsp, out.membrane, a, *gradients])
    for one, two in zip(*results, strict=True):
        assert one is two is None or torch.equal(one, two)


@needs_native
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("op", [Conv(9, 8, 3, 17, 5, padding=2), Pool(7, 5, 5, 2)], ids=str)
def test_constant_current(op, isa):
    from bitspike.ops.lif import native

    _, weight, by_weight, by_error, other = _case(op)
    x = Current(torch.randint(0, 256, (3, op.n_in), generator=torch.Generator().manual_seed(0)) / 256, 23)
    neuron, how = NEURONS[1], Adjoint("closed")
    slow, fast = (module.forward(op, x, weight, neuron) for module in (reference, native))
    for one, two in zip(slow, fast, strict=True):
        assert (
            one.n == two.n and torch.equal(one.bits, two.bits)
            if isinstance(one, Spikes)
            else torch.equal(one, two)
        )
    scale = by_weight if weight is not None else None
    slow_d, slow_error = reference.backward(op, x, weight, slow.spikes, neuron, how, scale, by_error)
    fast_d, fast_error = native.backward(op, x, weight, slow.spikes, neuron, how, scale, by_error, isa)
    assert_close(fast_d, slow_d)
    assert slow_error is fast_error is None
    assert_close(
        native.tpsp(op, x, weight, other, neuron, how, isa),
        reference.tpsp(op, x, weight, other, neuron, how),
    )


@needs_native
def test_bad_requests_are_refused():
    from bitspike.ops.lif import native_conv

    op = Conv(5, 7, 1, 1, 1)
    x, weight, *_, other = _case(op)
    with pytest.raises(UsageError, match="lateral"):
        native_conv.forward(op, x, weight, Neuron(1.0, lateral=1.0))
    with pytest.raises(UsageError, match="float32"):
        native_conv.forward(op, x, weight.double(), NEURONS[0])
    with pytest.raises(ValueError, match="number of words"):
        native_conv.forward(op, Spikes(x.bits[:, :, :0], op.n_in), weight, NEURONS[0])
    with pytest.raises(ValueError, match="weights do not fit"):
        native_conv.forward(op, x, torch.zeros(1, 1, 1, 2), NEURONS[0])
    with pytest.raises(ValueError, match="differ in samples or steps"):
        native_conv.tpsp(
            op, x, weight, Spikes(other.bits[:, 1:].contiguous(), other.n), NEURONS[0], Adjoint()
        )
    with pytest.raises(ValueError, match="batch, n_out"):
        native_conv.backward(op, x, weight, other, NEURONS[0], Adjoint(), None, torch.ones(2, op.n_out))
