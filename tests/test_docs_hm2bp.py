"""The table of docs/methods/hm2bp.md that sets every HM2-BP recipe beside the paper's settings is what recipes hold."""

import re
from pathlib import Path

import pytest

from bitspike.coding import Cochlea, Direct, EventBins, Poisson
from bitspike.data.augment import Augment
from bitspike.data.distortion import Distortion
from bitspike.recipes import RECIPES
from bitspike.rules.hm2bp import HM2BP

PAGE = Path(__file__).resolve().parent.parent / "docs" / "methods" / "hm2bp.md"
PAPER = {  # the published settings that a recipe departs from; those of its own data where there are some
    "hm2bp-mnist-cnn": "hm2bp-mnist-cnn-paper",
    "hm2bp-emnist": "hm2bp-emnist-paper",
    "hm2bp-nmnist": "hm2bp-nmnist-paper",
    "hm2bp-fsdd": "hm2bp-ti46-paper",
    "hm2bp-ti46": "hm2bp-ti46-paper",
}


def number(value):
    return f"{value:g}"


def on(value):
    return "on" if value else "off"


def coding(experiment):
    c = experiment.coding
    if isinstance(c, Direct):
        return f"current, {number(c.rate)}"
    if isinstance(c, Poisson):
        return f"Poisson, {'once' if c.frozen else 'anew'}"
    if isinstance(c, EventBins):
        return f"{c.bin_us} µs"
    assert isinstance(c, Cochlea)
    return (
        f"BSA x {c.repeat}" + (", stretched" if c.stretch else "") + (", normalised" if c.normalise else "")
    )


def images(experiment):
    a = experiment.augment
    if isinstance(a, Distortion):
        return f"distorted per {a.share}"
    moved = isinstance(a, Augment) and any((a.rotation, a.scale, a.shear, a.shift, a.elastic))
    return "augmented" if moved else "as they are"


def weights(experiment):
    w = experiment.weights
    return f"{w.kind}, {number(w.hidden[1])}" + (
        f"; conv {number(w.conv[1])}" if "C" in "".join(experiment.network.hidden) else ""
    )


def training(experiment):
    t, o = experiment.training, experiment.optimizer
    return f"{t.epochs} x {t.batch_size}; {number(o.lr)}, {o.schedule}"


def regulariser(experiment):
    rule = experiment.rule
    return ", ".join(map(number, (rule.reg, rule.reg_beta, rule.reg_limit))) if rule.reg else "none"


def beyond(experiment):
    rule, found = experiment.rule, []
    if rule.silent_ratio != 1:
        found.append(f"silent_ratio {number(rule.silent_ratio)}")
    if rule.saturation is not None:
        found.append(f"saturation {number(rule.saturation)}")
    if rule.clip_norm is not None:
        found.append(f"clip_norm {number(rule.clip_norm)}")
    return "; ".join(found) or "none"


COLUMNS = {
    "images or trains": coding,
    "T": lambda e: number(e.coding.n_steps),
    "tau_m, tau_s": lambda e: f"{number(e.network.tau_m)}, {number(e.network.tau_s)}",
    "T_r": lambda e: number(e.network.refractory),
    "eps": lambda e: number(e.network.epsilon),
    "thresholds": lambda e: ", ".join(map(number, e.network.thresholds)),
    "w0; gamma": lambda e: f"{number(e.network.lateral)}; {e.rule.lateral_factor}",
    "targets; margin": lambda e: (
        f"{number(e.rule.desired)} / {number(e.rule.undesired)}; {number(e.rule.margin)}"
    ),
    "S-PSP; bin": lambda e: f"{e.rule.spsp}; {e.rule.backward_bin}",
    "1 + S; S silent": lambda e: f"{on(e.rule.side_effect)}; {e.rule.silent_side}",
    "pool": lambda e: e.rule.pool_scale if "P" in "".join(e.network.hidden) else "–",
    "sample weights": lambda e: on(e.rule.boost),
    "regulariser": regulariser,
    "beyond the paper": beyond,
    "weights, start": weights,
    "epochs x batch; step": training,
    "training images": images,
}


def departures():
    """The Markdown table: a row per recipe, bold where it departs from the published settings."""
    lines = ["| recipe | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, experiment in RECIPES.items():
        if not isinstance(experiment.rule, HM2BP):
            continue
        published = experiment if name.endswith("-paper") else RECIPES[PAPER.get(name, "hm2bp-mnist-paper")]
        pairs = [(cell(experiment), cell(published)) for cell in COLUMNS.values()]
        cells = [own if own == theirs else f"**{own}**" for own, theirs in pairs]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def test_the_table_of_settings_is_what_the_recipes_hold():
    marked = re.search(r"<!-- settings: begin -->\n\n(.*)\n\n<!-- settings: end -->", PAGE.read_text(), re.S)
    assert marked is not None
    assert marked[1] == departures()


@pytest.mark.parametrize("field", ["silent_e", "ratio", "inject", "cutoff"])
def test_what_the_table_does_not_show_no_recipe_changes(field):
    assert {getattr(e.rule, field) for e in RECIPES.values() if isinstance(e.rule, HM2BP)} == {
        getattr(HM2BP(), field)
    }
