"""The recipes: each a constant of type `Experiment`, one file per family, gathered here by name."""

from __future__ import annotations

from bitspike.experiment import Experiment
from bitspike.recipes.bnn import bnn_digits, bnn_fashion, bnn_mnist
from bitspike.recipes.first_spike_race import (
    bs4nn_digits,
    bs4nn_fashion,
    bs4nn_mnist,
    s4nn_digits,
    s4nn_fashion,
    s4nn_mnist,
)
from bitspike.recipes.hm2bp import (
    hm2bp_digits,
    hm2bp_emnist,
    hm2bp_fsdd,
    hm2bp_mnist,
    hm2bp_mnist_binary,
    hm2bp_mnist_cnn,
    hm2bp_mnist_poisson,
    hm2bp_nmnist,
    hm2bp_ti46,
)
from bitspike.recipes.hm2bp_paper import (
    hm2bp_emnist_paper,
    hm2bp_mnist_cnn_paper,
    hm2bp_mnist_paper,
    hm2bp_nmnist_paper,
    hm2bp_ti46_paper,
)
from bitspike.recipes.s4nn_paper import bs4nn_mnist_paper, s4nn_mnist_paper

RECIPES: dict[str, Experiment] = {
    "bs4nn-digits": bs4nn_digits,
    "bs4nn-mnist": bs4nn_mnist,
    "bs4nn-fashion": bs4nn_fashion,
    "s4nn-digits": s4nn_digits,
    "s4nn-mnist": s4nn_mnist,
    "s4nn-fashion": s4nn_fashion,
    "bnn-digits": bnn_digits,
    "bnn-mnist": bnn_mnist,
    "bnn-fashion": bnn_fashion,
    "hm2bp-digits": hm2bp_digits,
    "hm2bp-mnist": hm2bp_mnist,
    "hm2bp-mnist-poisson": hm2bp_mnist_poisson,
    "hm2bp-mnist-binary": hm2bp_mnist_binary,
    "hm2bp-mnist-cnn": hm2bp_mnist_cnn,
    "hm2bp-nmnist": hm2bp_nmnist,
    "hm2bp-emnist": hm2bp_emnist,
    "hm2bp-fsdd": hm2bp_fsdd,
    "hm2bp-ti46": hm2bp_ti46,
    "hm2bp-mnist-paper": hm2bp_mnist_paper,
    "hm2bp-mnist-cnn-paper": hm2bp_mnist_cnn_paper,
    "hm2bp-nmnist-paper": hm2bp_nmnist_paper,
    "hm2bp-ti46-paper": hm2bp_ti46_paper,
    "hm2bp-emnist-paper": hm2bp_emnist_paper,
    "bs4nn-mnist-paper": bs4nn_mnist_paper,
    "s4nn-mnist-paper": s4nn_mnist_paper,
}
