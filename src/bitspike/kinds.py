"""What there is of each kind, by the name that files and help call it: a new system adds its classes here.

Importing this needs no torch.
"""

from __future__ import annotations

from bitspike.coding import Cochlea, Direct, EventBins, FirstSpike, Pixel, Poisson
from bitspike.contracts import Augmentation, Coding, NetworkSettings
from bitspike.data.augment import Augment
from bitspike.data.distortion import Distortion
from bitspike.experiment import Rule
from bitspike.rules.bisnn import BiSNN
from bitspike.rules.bnn import BNN
from bitspike.rules.first_spike_race import FirstSpikeRace
from bitspike.rules.hm2bp import HM2BP
from bitspike.rules.s4nn import S4NN
from bitspike.settings import IF, LIF, SRM

RULES: dict[str, type[Rule]] = {
    "FirstSpikeRace": FirstSpikeRace,
    "S4NN": S4NN,
    "BNN": BNN,
    "HM2BP": HM2BP,
    "BiSNN": BiSNN,
}
CODINGS: dict[str, type[Coding]] = {
    "FirstSpike": FirstSpike,
    "Pixel": Pixel,
    "Direct": Direct,
    "Poisson": Poisson,
    "EventBins": EventBins,
    "Cochlea": Cochlea,
}
NETWORKS: dict[str, type[NetworkSettings]] = {"IF": IF, "LIF": LIF, "SRM": SRM}
AUGMENTATIONS: dict[str, type[Augmentation]] = {"Augment": Augment, "Distortion": Distortion}

AXES: dict[type, dict[str, type]] = {
    Rule: {**RULES},
    Coding: {**CODINGS},
    NetworkSettings: {**NETWORKS},
    Augmentation: {**AUGMENTATIONS},
}
"""The table of each base class."""
