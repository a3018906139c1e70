"""The native steps of the published rules equal the reference: parameters, what is carried, spikes, rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

pytest.importorskip("bitspike._native")

from bitspike import _native
from bitspike.errors import UsageError
from bitspike.ops.glm import block, online, online_native
from bitspike.ops.glm.online import FLSNNState, Parameters, VOWELState
from bitspike.ops.glm.online_native import Steps, Streams
from bitspike.ops.glm.settings import FLSNNSettings, VOWELSettings
from bitspike.ops.lif.signals import pack, unpack
from glm_windows import DEEP, LAYERED, RECURRENT, SKIP, VISIBLE, Drawn, draw

ISAS = _native.instruction_sets()
N_STEPS = 100
LR = 0.001  # larger ones tear networks without baseline apart, in any arithmetic
RULES = {
    "fl-snn": FLSNNSettings(lr=LR),
    "fl-snn, control variate": FLSNNSettings(lr=LR, beta=0.05, normalise="group"),
    "fl-snn, blocks of 3": FLSNNSettings(lr=LR, steps=3, normalise="all"),
    "fl-snn, blocks of 4, control variate": FLSNNSettings(lr=LR, kappa=0.5, alpha=0.3, steps=4, beta=0.3),
    "fl-snn, no memory": FLSNNSettings(lr=LR, kappa=0.0),
    "vowel": VOWELSettings(lr=LR),
    "vowel, no baseline": VOWELSettings(lr=LR, baseline=False),
    "vowel, aliased": VOWELSettings(lr=LR, kappa=0.5, aliased=True),
    "vowel, no memory": VOWELSettings(lr=LR, kappa=0.0),
}
NETWORKS = {
    "C = 1": LAYERED,
    "C = 2 and 3": SKIP,
    "deep": DEEP,
    "visible": VISIBLE,
    "recurrent": RECURRENT,
}
Settings = FLSNNSettings | VOWELSettings
State = FLSNNState | VOWELState


def start(drawn: Drawn, settings: Settings) -> State:
    streams = len(drawn.keys)
    if isinstance(settings, VOWELSettings):
        return VOWELState.start(drawn.parameters, streams)
    return FLSNNState.start(drawn.parameters, streams, settings)


def masks(drawn: Drawn) -> list[Tensor | None]:
    """A synapse whose weight starts at 0 in all filters is missing; the first connection is dense."""
    return [None, *((w != 0).any(1, keepdim=True).float() for w in drawn.parameters.weights[1:])]


def lengths(drawn: Drawn) -> int:
    own = drawn.feedback_table
    return max(drawn.table.shape[1], 0 if own is None else own.shape[1])


def reference(
    drawn: Drawn, state: State, settings: Settings, given: Sequence[Tensor | None]
) -> list[online.Step]:
    """All steps by `online`; moves the parameters."""
    topology, inputs = drawn.topology, unpack(drawn.spikes)
    n_steps = inputs.shape[1]
    history = online.silence(topology, len(inputs), lengths(drawn), inputs)
    uniforms = [
        block.uniforms(topology, drawn.keys, group, n_steps, 1) for group in range(1, topology.output + 1)
    ]
    made = []
    for t in range(n_steps):
        now = [inputs[:, t], *(None if part is None else part[:, t] for part in given)]
        one = online.step(
            topology, drawn.parameters, masks(drawn), drawn.table, drawn.feedback_table, history, now,
            [None, *(part[:, t] for part in uniforms)], silence=0.7,
        )  # fmt: skip
        if isinstance(state, VOWELState):
            assert isinstance(settings, VOWELSettings)
            online.vowel(topology, drawn.parameters, state, one, settings)
        else:
            assert isinstance(settings, FLSNNSettings)
            online.fl_snn(topology, drawn.parameters, state, one, settings)
        history = online.remember(history, one.spikes)
        made.append(one)
    return made


def native(
    drawn: Drawn,
    state: State,
    settings: Settings,
    given: Sequence[Tensor | None],
    at_once: int,
    isa: str = "best",
) -> list[Steps]:
    """The same in blocks of `at_once` steps."""
    streams = Streams.start(drawn.topology, state, len(state.trace.biases[0]), lengths(drawn))
    made = []
    for first in range(0, drawn.spikes.n_steps, at_once):
        part = slice(first, first + at_once)
        made.append(
            online_native.learn(
                drawn.topology, drawn.parameters, masks(drawn), drawn.table, drawn.feedback_table, streams, state,
                drawn.spikes._replace(bits=drawn.spikes.bits[:, part].contiguous()),
                [None if one is None else one[:, part] for one in given], drawn.keys, first, settings, 0.7, isa,
            )
        )  # fmt: skip
    return made


def copied(drawn: Drawn) -> Drawn:
    return drawn._replace(parameters=drawn.parameters.map(torch.clone))


def tensors(drawn: Drawn, state: State) -> list[Tensor]:
    found = drawn.parameters.all()
    for part in vars(state).values():
        found += part.all() if isinstance(part, Parameters) else [part] if isinstance(part, Tensor) else []
    return found


@pytest.mark.parametrize("settings", RULES.values(), ids=RULES.keys())
@pytest.mark.parametrize("kind", NETWORKS.values(), ids=NETWORKS.keys())
def test_equals_the_reference_over_a_hundred_steps(kind, settings: Settings) -> None:
    settings = replace(settings, lr=LR / 5 if kind is DEEP else LR)
    drawn = draw(kind, n_steps=N_STEPS, batch=2, rate=0.04)
    given = [*[None] * (drawn.topology.output - 1), drawn.wanted]
    mine, yours = copied(drawn), copied(drawn)
    state, other = start(drawn, settings), start(drawn, settings)
    wanted = reference(yours, other, settings, given)
    (found,) = native(mine, state, settings, given, N_STEPS)
    for group, spikes in enumerate(found.spikes, start=1):
        torch.testing.assert_close(
            spikes, torch.stack([one.spikes[group] for one in wanted], 1), rtol=0, atol=0
        )
    log_output = torch.stack([one.log_output for one in wanted], 1)
    torch.testing.assert_close(found.log_output, log_output, rtol=1e-5, atol=1e-5)
    divergence = torch.stack([one.divergence for one in wanted], 1)
    torch.testing.assert_close(found.divergence, divergence, rtol=1e-5, atol=2e-5)
    p = torch.stack([one.spikes[-1] - one.gradients.biases[-1] for one in wanted], 1)
    torch.testing.assert_close(found.chances, p, rtol=0, atol=1e-5)
    moved = 0.0
    for a, b, before in zip(
        mine.parameters.all(), yours.parameters.all(), drawn.parameters.all(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
        moved = max(moved, float((b - before).abs().max()))
    assert moved > 0.005
    for a, b in zip(tensors(mine, state), tensors(yours, other), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", RULES.values(), ids=RULES.keys())
def test_blocks_of_steps_equal_single_steps_on_every_instruction_set(settings: Settings) -> None:
    drawn = draw(RECURRENT, n_steps=N_STEPS, batch=3, rate=0.02)
    given = [None, drawn.wanted]
    first = None
    for isa in ISAS:
        for at_once in (1, 3, 4, 17, N_STEPS):
            mine, state = copied(drawn), start(drawn, settings)
            made = native(mine, state, settings, given, at_once, isa)
            found = [*tensors(mine, state), torch.cat([one.log_output for one in made], 1)]
            first = found if first is None else first
            for a, b in zip(found, first, strict=True):
                torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_hidden_circuits_can_be_given() -> None:
    drawn = draw(SKIP, n_steps=30, batch=2)
    values = torch.randint(0, 4, (2, 30, 4), generator=torch.Generator().manual_seed(1))
    hidden = torch.stack([values == c + 1 for c in range(3)], 2).flatten(2).float()
    settings = RULES["vowel"]
    mine, yours = copied(drawn), copied(drawn)
    state, other = start(drawn, settings), start(drawn, settings)
    (found,) = native(mine, state, settings, [hidden, drawn.wanted], 30)
    reference(yours, other, settings, [hidden, drawn.wanted])
    torch.testing.assert_close(found.spikes[0], hidden, rtol=0, atol=0)
    for a, b in zip(mine.parameters.all(), yours.parameters.all(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-6)


def test_what_left_carries_nothing_and_comes_back() -> None:
    """A source silent for the filters and the tail has traces of 0; those of the reference are below 1e-6 then."""
    drawn = draw(LAYERED, n_steps=60, batch=1, rate=1.0)
    dense = unpack(drawn.spikes)
    dense[:, 1:45] = 0
    drawn = drawn._replace(spikes=pack(dense))
    settings = FLSNNSettings(lr=LR, beta=0.05)
    for n_steps in (44, 60):
        part = drawn._replace(
            spikes=drawn.spikes._replace(bits=drawn.spikes.bits[:, :n_steps].contiguous()),
            wanted=drawn.wanted[:, :n_steps],
        )
        mine, yours = copied(part), copied(part)
        state, other = start(part, settings), start(part, settings)
        native(mine, state, settings, [None, part.wanted], 4)
        reference(yours, other, settings, [None, part.wanted])
        gone = float(state.trace.weights[0].abs().max()) == 0
        assert gone == (n_steps == 44)
        for a, b in zip(tensors(mine, state), tensors(yours, other), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-6)


def test_filters_longer_than_a_word() -> None:
    drawn = draw(RECURRENT, filters=2, length=70, n_steps=90, batch=1, rate=0.05, scale=0.1)
    settings = RULES["vowel"]
    mine, yours = copied(drawn), copied(drawn)
    native(mine, start(drawn, settings), settings, [None, drawn.wanted], 7)
    reference(yours, start(drawn, settings), settings, [None, drawn.wanted])
    for a, b in zip(mine.parameters.all(), yours.parameters.all(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-6)


def test_what_does_not_fit_is_refused_before_anything_moves() -> None:
    drawn = draw(SKIP, n_steps=6)
    settings = FLSNNSettings(lr=0.1)
    before = [value.clone() for value in drawn.parameters.all()]
    for wrong, words in (
        (drawn._replace(keys=drawn.keys[:2]), "key of every"),
        (drawn._replace(wanted=drawn.wanted + 0.5), "0 or 1"),
        (drawn._replace(wanted=drawn.wanted[:, :, :2]), "what circuits emit"),
        (drawn._replace(table=drawn.table[:2]), "weights must be"),
        (drawn._replace(table=drawn.table.double()), "float32"),
        (drawn._replace(spikes=pack(torch.ones(4, 6, 80))), "words"),
    ):
        with pytest.raises(UsageError, match=words):
            native(wrong, start(drawn, settings), settings, [None, wrong.wanted], 6)
    with pytest.raises(UsageError, match="kappa"):
        native(drawn, start(drawn, settings), replace(settings, kappa=1.0), [None, drawn.wanted], 6)
    doubles = drawn._replace(parameters=drawn.parameters.map(torch.Tensor.double))
    with pytest.raises(UsageError, match="float32"):
        native(doubles, start(drawn, settings), settings, [None, drawn.wanted], 6)
    for value, old in zip(drawn.parameters.all(), before, strict=True):
        torch.testing.assert_close(value, old, rtol=0, atol=0)
