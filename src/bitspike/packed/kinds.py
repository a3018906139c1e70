"""The packed networks that model files hold; a new one adds a line here."""

from __future__ import annotations

from bitspike.packed.base import Known, Packed
from bitspike.packed.codings import CODINGS
from bitspike.packed.committee import CommitteePacked
from bitspike.packed.first_spike.network import FirstSpikePacked
from bitspike.packed.glm.network import GLMPacked
from bitspike.packed.heaviside import HeavisidePacked
from bitspike.packed.lif.network import LIFPacked
from bitspike.packed.srm.network import SRMPacked

PACKED: tuple[type[Packed], ...] = (
    FirstSpikePacked,
    HeavisidePacked,
    LIFPacked,
    SRMPacked,
    GLMPacked,
    CommitteePacked,
)

KNOWN = Known(PACKED, CODINGS)
