"""What the JSON files of a run folder must look like to be read: forms as data, with one checker.

A folder may come from a stranger. What is not named here is kept and shown, but nothing is computed from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from bitspike.errors import DataError
from bitspike.ranges import Range, between, count

MAX_LAYERS = 64
MAX_CLASSES = 1 << 12


@dataclass(frozen=True)
class Fields:
    """An object. `known` fields have these forms where they are there, all `others`, if given, that one."""

    known: Mapping[str, Form] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    others: Form | None = None
    keys: Range | None = None  # names are numbers in this range


@dataclass(frozen=True)
class Many:
    """A list of at most `most` values of one form; `exactly`: of so many."""

    form: Form
    most: int = 1 << 16
    exactly: int | None = None


Form = Range | type[str] | re.Pattern[str] | Fields | Many | tuple["Form", ...]
"""Numbers in a range, text, text of a pattern, an object, a list, or one of several forms."""

NUMBER = between(-1e100, 1e100)
FIGURE = between(-1e100, 1e100, none=True)
SIZE = count(0, 1 << 50)
STEPS = count(1, 32767)
ALPHA = between(0, 1, low_open=True, high_open=True)


def _all(names: str, form: Form = NUMBER) -> Fields:
    known = names.split()
    return Fields(dict.fromkeys(known, form), tuple(known), form)


_SETS = "coverage mean_set_size singletons empty"


def _sets(more: str = "") -> Fields:
    plain = _all(f"{_SETS} {more}")
    return replace(plain, known={**plain.known, "coverage_range": Many(NUMBER, exactly=2)})


_SWEEP = Many(
    Fields(dict.fromkeys(("threshold", "accuracy", "silent", "decision_time"), NUMBER), ("threshold",))
)
_FIGURES = (
    "accuracy accuracy_tie_optimistic aurc best_epoch brier decision_time eaurc ece ece_mass energy_uj far_confidence "
    "input_macs mae mae_gaps mae_trained model_bytes neuron_updates nll rmse rmse_gaps rmse_trained seconds silent "
    "spikes spread spread_gaps spread_trained srm_updates synops ties validation_accuracy validation_rmse"
)

EVALUATION = Fields(
    {
        **dict.fromkeys(_FIGURES.split(), FIGURE),
        "system": str,
        "decides": re.compile("first spike|window|once"),
        "n": SIZE,
        "n_steps": STEPS,
        "layers": Many(
            Fields(
                {
                    "name": str, "neurons": SIZE, "weights": SIZE, "synapses": SIZE, "mean_count": NUMBER,
                    "rate": NUMBER, "silent": NUMBER, "never": NUMBER, "threshold": (NUMBER, Many(NUMBER)),
                }
            ),
            MAX_LAYERS,
        ),
        "modes": Fields(others=_all("accuracy nll nll_raw brier brier_raw ece ece_raw")),
        "calibration": Fields(
            {
                "threshold_shift": NUMBER, "temperature": between(0, 1e100, low_open=True), "sweep": _SWEEP,
                "validation_silent": NUMBER, "validation_accuracy": NUMBER,
            }
        ),
        "threshold_sweep": _SWEEP,
        "robustness": Fields(others=Many(Many(NUMBER, exactly=2), 1000)),
        "uncertainty": Fields(
            {
                **dict.fromkeys(("aurc", "eaurc", "ece", "ece_mass"), NUMBER),
                **dict.fromkeys(("ece_interval", "ece_mass_interval"), Many(NUMBER, exactly=2)),
                "conformal": Fields(others=_sets(), keys=ALPHA),
                "conformal_early": Fields(others=_all("early full", _sets("decision_time")), keys=ALPHA),
                "conformal_samples": SIZE,
                "conformal_thresholds": Many(Many(NUMBER, exactly=2), 1000),
                "ood": Fields(others=Fields(others=NUMBER)),
                "temperature": _all("temperature nll ece"),
            }
        ),
    }
)  # fmt: skip
MANIFEST = Fields(
    {
        "started": str,
        "data": Fields(
            {
                **dict.fromkeys(("name", "noun", "note"), str),
                **dict.fromkeys(("train", "validation", "test"), SIZE),
                "classes": Many(str, MAX_CLASSES),
                "sha256": Fields(others=str),
            }
        ),
        "resumed": Many(Fields()),
    }
)
METRICS = Fields({"epoch": SIZE, "firing": Many(NUMBER, MAX_LAYERS)}, ("epoch",), FIGURE)
_PARTS: dict[str, dict[str, Form]] = {
    "data": {"name": str},
    "coding": {"n_steps": STEPS},
    "network": {"hidden": Many((SIZE, str), MAX_LAYERS), "thresholds": Many(NUMBER, MAX_LAYERS)},
    "weights": {},
    "rule": {"theta_out": NUMBER},
    "predict": {"mode": str, "draws": count(1, 1000)},
    "training": {"epochs": SIZE, "tasks": Many(re.compile(r" *\d{1,6} *(, *\d{1,6} *)*"), 1000)},
}
EXPERIMENT = Fields(  # as reports read it, whatever classes of the user's own it names
    {
        "name": str,
        "seed": count(),
        **{part: (str, Fields({"kind": str, **fields})) for part, fields in _PARTS.items()},
    }
)


def check_form(form: Form, value: Any, where: str) -> None:
    """Refuse, with `DataError` at `where`, a value that has not this form."""
    if isinstance(form, tuple):
        _one_of(form, value, where)
    elif isinstance(form, Range):
        exact = form.whole or not isinstance(value, int) or abs(value) < 1 << 53  # as a float
        _require(form.holds(value) and exact, value, where, str(form))
    elif isinstance(form, Many):
        _require(isinstance(value, list), value, where, "a list")
        _require(len(value) <= form.most, len(value), where, f"at most {form.most} values")
        _require(form.exactly in (None, len(value)), len(value), where, f"{form.exactly} values")
        for number, item in enumerate(value):
            check_form(form.form, item, f"{where}[{number}]")
    elif isinstance(form, Fields):
        _require(isinstance(value, dict), value, where, "a JSON object")
        for name in form.needed:
            _require(name in value, sorted(value), where, f"a field {name}")
        for name, item in value.items():
            inner = form.known.get(name, form.others)
            if form.keys is not None:
                _require(form.keys.holds(_number(name)), name, where, f"names that are {form.keys}")
            if inner is not None:
                check_form(inner, item, f"{where}.{name:.60}".removeprefix("."))
    elif isinstance(form, re.Pattern):
        _require(isinstance(value, str) and form.fullmatch(value) is not None, value, where, form.pattern)
    else:
        _require(isinstance(value, form), value, where, "text")


def _one_of(forms: tuple[Form, ...], value: Any, where: str) -> None:
    for form in forms[:-1]:
        with suppress(DataError):
            check_form(form, value, where)
            return
    check_form(forms[-1], value, where)


def _number(name: str) -> float | None:
    try:
        return float(name)
    except ValueError:
        return None


def _require(holds: bool, value: Any, where: str, expected: str) -> None:
    if not holds:
        raise DataError(f"{where or 'it'} is {value!r:.60}; expected {expected}")
