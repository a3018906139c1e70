"""What there is of each kind, by the name that files and help call it: a new system adds its classes here.

Importing this needs no torch.
"""

from __future__ import annotations

from bitspike.coding import Cochlea, Direct, EventBins, FirstSpike, Latency, Pixel, Poisson
from bitspike.contracts import Augmentation, Basis, Coding, NetworkSettings
from bitspike.data.augment import Augment
from bitspike.data.distortion import Distortion
from bitspike.experiment import Rule
from bitspike.rules.bisnn import BiSNN
from bitspike.rules.bnn import BNN
from bitspike.rules.first_spike_race import FirstSpikeRace
from bitspike.rules.fl_snn import FLSNN
from bitspike.rules.hm2bp import HM2BP
from bitspike.rules.s4nn import S4NN
from bitspike.rules.three_factor import ThreeFactor
from bitspike.rules.vowel import VOWEL
from bitspike.settings import GLM, IF, LIF, SRM
from bitspike.settings.basis import Dirac, Exponential, RaisedCosine

RULES: dict[str, type[Rule]] = {
    "FirstSpikeRace": FirstSpikeRace,
    "S4NN": S4NN,
    "BNN": BNN,
    "HM2BP": HM2BP,
    "BiSNN": BiSNN,
    "FLSNN": FLSNN,
    "VOWEL": VOWEL,
    "ThreeFactor": ThreeFactor,
}
CODINGS: dict[str, type[Coding]] = {
    "FirstSpike": FirstSpike,
    "Pixel": Pixel,
    "Direct": Direct,
    "Poisson": Poisson,
    "EventBins": EventBins,
    "Latency": Latency,
    "Cochlea": Cochlea,
}
NETWORKS: dict[str, type[NetworkSettings]] = {"IF": IF, "LIF": LIF, "SRM": SRM, "GLM": GLM}
BASES: dict[str, type[Basis]] = {
    "Exponential": Exponential,
    "RaisedCosine": RaisedCosine,
    "Dirac": Dirac,
}
AUGMENTATIONS: dict[str, type[Augmentation]] = {"Augment": Augment, "Distortion": Distortion}

AXES: dict[type, dict[str, type]] = {
    Rule: {**RULES},
    Coding: {**CODINGS},
    NetworkSettings: {**NETWORKS},
    Augmentation: {**AUGMENTATIONS},
    Basis: {**BASES},
}
"""The table of each base class."""
