"""How an input becomes spikes: settings that encode images, events or sound. Importing this needs no torch."""

from bitspike.coding.cochlea import Cochlea
from bitspike.coding.direct import Direct
from bitspike.coding.event_bins import EventBins
from bitspike.coding.first_spike import FirstSpike, first_spike_times, time_table
from bitspike.coding.image_coding import ImageCoding
from bitspike.coding.latency import Latency
from bitspike.coding.pixel import Pixel
from bitspike.coding.poisson import Poisson
from bitspike.coding.spike_list import SpikeList
from bitspike.data.cosine import CosinePopulation
from bitspike.data.population import Population

__all__ = [
    "Cochlea",
    "CosinePopulation",
    "Direct",
    "EventBins",
    "FirstSpike",
    "ImageCoding",
    "Latency",
    "Pixel",
    "Poisson",
    "Population",
    "SpikeList",
    "first_spike_times",
    "time_table",
]
