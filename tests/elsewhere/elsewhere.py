"""A second device for tests: computes on the CPU, but refuses what a GPU would refuse, tensors of two devices in an op.

`start()` makes `torch.device("elsewhere")`; it renames a backend of the whole process, so tests call it in a process of
their own.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.utils._pytree import tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "elsewhere"
MOVES = {
    "aten::_to_copy",
    "aten::copy_",
    "aten::_copy_from",
    "aten::_copy_from_and_resize",
    "aten::_local_scalar_dense",
}


class Elsewhere(torch.Tensor):
    """A tensor of the other device; `here` holds its numbers."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls, here.shape, strides=here.stride(), storage_offset=here.storage_offset(), dtype=here.dtype,
            device=torch.device(NAME, 0), requires_grad=False,
        )  # fmt: skip
        made.here = here
        return made

    def __repr__(self, **_: Any) -> str:
        return f"Elsewhere({self.here!r})"

    def numpy(self, *, force: bool = False) -> Any:
        """As a GPU's tensor: only by force."""
        if not force:
            raise TypeError("can't convert a tensor of another device to numpy; copy it to the CPU first")
        return self.detach().cpu().numpy()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name, kwargs = func._schema.name, dict(kwargs)
    tensors = [
        part for part in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(part, torch.Tensor)
    ]
    away = [part for part in tensors if isinstance(part, Elsewhere)]
    strange = [part for part in tensors if not isinstance(part, Elsewhere) and part.dim()]
    index_of_cpu = name in {"aten::index.Tensor", "aten::index", "aten::index_put_", "aten::_index_put_impl_"}
    if away and strange and name not in MOVES and not index_of_cpu:
        shapes = [tuple(part.shape) for part in strange]
        raise RuntimeError(f"{name}: tensors on two devices; on the CPU are {shapes}")
    target = kwargs.get("device")
    goes_away = torch.device(target).type == NAME if target is not None else bool(away)
    if target is not None:
        kwargs["device"] = torch.device("cpu")
    if "pin_memory" in kwargs:
        kwargs["pin_memory"] = None

    def unwrap(part: Any) -> Any:
        return part.here if isinstance(part, Elsewhere) else part

    out = func(*tree_map(unwrap, args), **tree_map(unwrap, kwargs))
    if func._schema.is_mutable and isinstance(out, torch.Tensor) and out is unwrap(args[0]):
        return args[0]
    if not goes_away:
        return out
    return tree_map(lambda part: Elsewhere(part) if type(part) is torch.Tensor else part, out)


def start() -> torch.device:
    """Make the device known; call once per process."""
    _setup_privateuseone_for_python_backend(NAME)
    library = torch.library.Library("_", "IMPL")

    def factory(op: Any, *args: Any, **kwargs: Any) -> Any:
        return _run(op, args, kwargs)

    library.fallback(factory, dispatch_key="PrivateUse1")
    # Composites would make an empty tensor and let it grow, which a wrapper of a fixed shape cannot show.
    growing = torch.library.Library("aten", "IMPL")
    for name in ("arange", "arange.start", "arange.start_step", "linspace"):
        overload = torch.ops.aten
        for part in (*name.split("."), *(() if "." in name else ("default",))):
            overload = getattr(overload, part)
        growing.impl(name, partial(factory, overload), "PrivateUse1")
    start.more = growing  # type: ignore[attr-defined]
    start.keep = library  # type: ignore[attr-defined]
    return torch.device(NAME, 0)
