"""S4NN and BS4NN as published, in plain PyTorch: the slow truth, for any depth and any float type.

Equation and section numbers are those of docs/methods/s4nn.md. Layers count from 0; `weights[l]` is `(n_in,
n_out)`. Spike times are int64 `(batch, neurons)` in steps; `n_steps` (the papers' bin T) means never.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bitspike.ops.s4nn.settings import StepSettings


@dataclass(frozen=True)
class Trace:
    """What a step saw: firing times of every layer (input first), decisions, targets, error e, all deltas."""

    times: list[Tensor]
    decided: Tensor
    targets: Tensor
    errors: Tensor
    deltas: list[Tensor]


def effective(weight: Tensor, settings: StepSettings) -> Tensor:
    """The weight of the forward pass: w, or sgn(w) for binary layers (alpha joins the threshold, equation
    5).
    """
    if not settings.binary:
        return weight
    zero = torch.full_like(weight, settings.sign_of_zero)
    return torch.where(weight == 0, zero, torch.sign(weight))


def layer_times(
    times: Tensor, weight: Tensor, threshold: Tensor | float, n_steps: int, delay: int = 1
) -> Tensor:
    """First-spike times of one layer, equations 2 to 4.

    V(t) = V(t-1) + sum_i w_ij [t_i = t]; s_j = first t in 0..n_steps-1 with V_j(t) > threshold (strict, after
    all spikes of the step); t_j = s_j + delay if that is below n_steps, else n_steps.

    `times (batch, n_in)`, `weight (n_in, n_out)` -> `(batch, n_out)` int64.
    """
    potential = weight.new_zeros(times.shape[0], weight.shape[1])
    fired = torch.full(potential.shape, n_steps, dtype=torch.int64, device=weight.device)
    for step in range(n_steps - delay):
        potential = potential + (times == step).to(weight.dtype) @ weight
        fired = torch.where((potential > threshold) & (fired == n_steps), step + delay, fired)
    return fired


def forward(
    times: Tensor, weights: list[Tensor], alpha: Tensor | None, settings: StepSettings
) -> list[Tensor]:
    """Firing times of every layer, the input's first; binary layers cross theta / alpha (equation 5)."""
    layers = [times.long()]
    for index, weight in enumerate(weights):
        threshold = _threshold(index, alpha, settings)
        layers.append(
            layer_times(layers[-1], effective(weight, settings), threshold, settings.n_steps, settings.delay)
        )
    return layers


def _threshold(layer: int, alpha: Tensor | None, settings: StepSettings) -> Tensor | float:
    theta = settings.thresholds[layer]
    return theta / alpha[layer] if settings.binary and alpha is not None else theta


def decide(
    layers: list[Tensor], weights: list[Tensor], alpha: Tensor | None, settings: StepSettings
) -> tuple[Tensor, Tensor]:
    """The honest decision and its margins: earliest output spike, then largest margin, then lowest index.

    Margins `(batch, classes)` are V_j - threshold at the end of the step in which the winner crosses; where
    no output fired, after all spikes.
    """
    before, output = layers[-2], layers[-1]
    first = output.min(dim=1, keepdim=True).values
    silent = first == settings.n_steps
    until = torch.where(silent, settings.n_steps - 1, first - settings.delay)
    margins = (before <= until).to(weights[-1].dtype) @ effective(weights[-1], settings)
    margins = margins - _threshold(len(weights) - 1, alpha, settings)
    allowed = (output == first) | silent
    return margins.masked_fill(~allowed, -torch.inf).argmax(dim=1), margins


def targets(times: Tensor, labels: Tensor, settings: StepSettings) -> Tensor:
    """Target firing times relative to the earliest output spike tau, equations 6 and 7.

    The true class: tau. Another class j: min(tau + gamma, n_steps) if t_j - tau < gamma, else t_j. Nobody
    fired: n_steps - gamma for the true class and n_steps for the others, or no signal with
    `silent_target="none"`.
    """
    n_steps, gamma = settings.n_steps, settings.gamma
    tau = times.min(dim=1, keepdim=True).values
    pushed = torch.where(times - tau < gamma, (tau + gamma).clamp(max=n_steps), times)
    true_class = torch.nn.functional.one_hot(labels, times.shape[1]).bool()
    spoken = torch.where(true_class, tau, pushed)
    early = n_steps - gamma if settings.silent_target == "early" else n_steps
    nobody = torch.where(true_class, early, n_steps)
    return torch.where(tau == n_steps, nobody, spoken)


def normalised(delta: Tensor) -> Tensor:
    """delta / ||delta||_2 for each sample; a zero row stays zero (equation 12)."""
    norm = delta.norm(dim=-1, keepdim=True)
    return torch.where(norm > 0, delta / torch.where(norm > 0, norm, 1), delta)


def causal(before: Tensor, after: Tensor, settings: StepSettings) -> Tensor:
    """M_ij = 1 if the spike of i came in time for the one of j: t_i + delay <= t_j and i fired. `(batch,
    n_in, n_out)`."""
    in_time = before[:, :, None] + settings.delay <= after[:, None, :]
    return in_time & (before < settings.n_steps)[:, :, None]


def delta_below(delta: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
    """d_i = sum_j d_j w_ij M_ij with the real weights, equations 10 and 16. `(batch, n_in)`."""
    return torch.einsum("bj,ij,bij->bi", delta, weight, mask.to(weight.dtype))


def _step(
    inputs: Tensor,
    labels: Tensor,
    weights: list[Tensor],
    alpha: Tensor | None,
    settings: StepSettings,
    *,
    post: bool,
    new_signs: bool,
) -> tuple[list[Tensor], Tensor | None, Trace]:
    """One update by the sum over the given samples.

    `post`: updated weights carry the deltas down; `new_signs`: alpha sees the updated signs.
    """
    layers = forward(inputs, weights, alpha, settings)
    decided, _ = decide(layers, weights, alpha, settings)
    goal = targets(layers[-1], labels, settings)
    errors = (goal - layers[-1]).to(weights[0].dtype) / settings.n_steps  # (8)
    delta = normalised(errors) if settings.normalise else errors  # (9), (12)
    updated, scale, deltas = list(weights), alpha, [delta]
    for index in reversed(range(len(weights))):
        eta = settings.eta[index]
        mask = causal(layers[index], layers[index + 1], settings)
        gradient = delta[:, None, :] * mask  # (11), (14)
        new = (weights[index] - eta * gradient.sum(0)) * (1 - eta * settings.decay) ** len(
            inputs
        )  # (13), (15)
        updated[index] = new if settings.clip is None else new.clamp(-settings.clip, settings.clip)
        carrier = updated[index] if post else weights[index]
        if settings.binary and scale is not None:
            signs = effective(updated[index] if new_signs else weights[index], settings)
            scale = scale.clone()
            scale[index] -= settings.mu * (gradient * signs).mean(dim=(1, 2)).sum()  # (17)
        if index:
            delta = delta_below(delta, carrier, mask)
            delta = normalised(delta) if settings.normalise else delta
            deltas.insert(0, delta)
    return updated, scale, Trace(layers, decided, goal, errors, deltas)


def online(
    inputs: Tensor, labels: Tensor, weights: list[Tensor], alpha: Tensor | None, settings: StepSettings
) -> tuple[list[Tensor], Tensor | None, list[Trace]]:
    """Sample after sample, in the order of section 6.2; the inputs are left as they are.

    For each sample, from the last layer down: update (13), decay, clip, alpha with the updated signs (17),
    delta below (10) with updated ("post") or previous ("pre") weights, normalise (12). The masks are never
    recomputed.
    """
    post, traces = settings.backward_weights == "post", []
    for row in range(len(inputs)):
        one = slice(row, row + 1)
        weights, alpha, trace = _step(
            inputs[one], labels[one], weights, alpha, settings, post=post, new_signs=True
        )
        traces.append(trace)
    return weights, alpha, traces


def batched(
    inputs: Tensor, labels: Tensor, weights: list[Tensor], alpha: Tensor | None, settings: StepSettings
) -> tuple[list[Tensor], Tensor | None, Trace]:
    """One update by the sum of the per-sample normalised gradients, all taken at the weights before the
    update.

    w <- (w - eta sum_b g_b) (1 - eta lambda)^B; alpha likewise by the sum, with the signs before the update
    (section 15.2).
    """
    return _step(inputs, labels, weights, alpha, settings, post=False, new_signs=False)


def gradients(trace: Trace, settings: StepSettings) -> list[Tensor]:
    """sum_b d_j M_ij of every layer, `(n_in, n_out)`: equations 11 and 14 summed over the samples of a
    trace."""
    masks = [causal(a, b, settings) for a, b in zip(trace.times, trace.times[1:], strict=False)]
    return [(d[:, None, :] * mask).sum(0) for d, mask in zip(trace.deltas, masks, strict=True)]
