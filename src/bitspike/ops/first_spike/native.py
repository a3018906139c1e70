"""First-spike layers by the native kernels: CPU, float32; equal to the reference (spikes exactly)."""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike import _native
from bitspike.ops.first_spike.spikes import Spikes

_ISA = "best"


def sort_times(times: Tensor, n_steps: int) -> Spikes:
    """Active-step form of spike times `(batch, n)` int16; `n_steps` means never."""
    events, starts, n_active, bins = _native.sort_times(times.numpy(), n_steps, torch.get_num_threads())
    return Spikes(
        n_active=torch.from_numpy(n_active),
        bins=torch.from_numpy(bins),
        n_inputs=times.shape[1],
        events=torch.from_numpy(events),
        starts=torch.from_numpy(starts),
    )


def hidden_spikes(spikes: Spikes, crossing: Tensor, steps: Tensor | None) -> Spikes:
    """The output of a layer as the input of the next, which shares its slots."""
    events, starts = _native.sort_slots(
        crossing.numpy(), spikes.n_active.numpy(), spikes.n_slots, torch.get_num_threads()
    )
    return Spikes(
        n_active=spikes.n_active,
        bins=spikes.bins,
        n_inputs=crossing.shape[1],
        slots=crossing,
        events=torch.from_numpy(events),
        starts=torch.from_numpy(starts),
        steps=steps,
    )


def _sorted(spikes: Spikes) -> tuple[object, object, object]:
    assert spikes.events is not None
    assert spikes.starts is not None
    return spikes.events.numpy(), spikes.starts.numpy(), spikes.n_active.numpy()


def layer_forward(
    spikes: Spikes, weight: Tensor, threshold: Tensor, binary: bool, isa: str = _ISA
) -> tuple[Tensor, Tensor]:
    """Running maxima, padded to a multiple of 64 neurons (int16 if binary); first-crossing slots `(batch, n_out)`."""
    maxima, crossing = _native.layer_forward(
        *_sorted(spikes),
        weight.detach().contiguous().numpy(),
        threshold.detach().numpy(),
        binary,
        torch.get_num_threads(),
        isa,
    )
    return torch.from_numpy(maxima), torch.from_numpy(crossing)


def layer_backward(
    spikes: Spikes,
    maxima: Tensor,
    threshold: Tensor,
    gradient: Tensor,
    above: Tensor | None,
    keep: Tensor | None,
    width: float,
    binary: bool,
    potential: bool,
    isa: str = _ISA,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """See `reference.layer_backward`."""
    kernel = _native.layer_backward_binary if binary else _native.layer_backward_real
    d_weight, d_threshold, d_potential = kernel(
        *_sorted(spikes),
        maxima.numpy(),
        threshold.detach().numpy(),
        gradient.contiguous().numpy(),
        above.detach().contiguous().numpy() if above is not None else None,
        keep.numpy() if keep is not None else None,
        width,
        potential,
        torch.get_num_threads(),
        isa,
    )
    return (
        torch.from_numpy(d_weight),
        torch.from_numpy(d_threshold),
        torch.from_numpy(d_potential) if potential else None,
    )


def readout_forward(spikes: Spikes, weight: Tensor, threshold: Tensor, isa: str = _ISA) -> Tensor:
    """See `reference.readout_forward`."""
    return torch.from_numpy(
        _native.readout_forward(
            *_sorted(spikes),
            weight.detach().contiguous().numpy(),
            threshold.detach().numpy(),
            torch.get_num_threads(),
            isa,
        )
    )


def readout_backward(spikes: Spikes, gradient: Tensor, isa: str = _ISA) -> tuple[Tensor, Tensor]:
    """See `reference.readout_backward`."""
    d_weight, d_threshold = _native.readout_backward(
        *_sorted(spikes), gradient.contiguous().numpy(), torch.get_num_threads(), isa
    )
    return torch.from_numpy(d_weight), torch.from_numpy(d_threshold)


def race_loss(
    margins: Tensor,
    n_active: Tensor,
    labels: Tensor,
    tau_c: float,
    tau_h: float,
    beta: float,
    skip: float,
    isa: str = _ISA,
) -> tuple[Tensor, Tensor]:
    """See `reference.race_loss`."""
    loss, gradient = _native.race_loss(
        margins.detach().numpy(),
        n_active.numpy(),
        labels.numpy(),
        tau_c,
        tau_h,
        beta,
        skip,
        torch.get_num_threads(),
        isa,
    )
    return torch.from_numpy(loss), torch.from_numpy(gradient)


def decided(margins: Tensor, n_active: Tensor) -> Tensor:
    """See `reference.decided`."""
    return torch.from_numpy(_native.decided(margins.contiguous().numpy(), n_active.numpy()))
