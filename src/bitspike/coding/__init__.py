"""How an input becomes spikes: settings that encode uint8 images. Importing this needs no torch."""

from bitspike.coding.first_spike import FirstSpike, first_spike_times, time_table
from bitspike.coding.pixel import Pixel
from bitspike.data.population import Population

__all__ = ["FirstSpike", "Pixel", "Population", "first_spike_times", "time_table"]
