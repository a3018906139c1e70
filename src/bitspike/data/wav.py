"""WAV, the RIFF container of sound: one channel of 8-bit or 16-bit PCM, read without trusting the header."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from bitspike.errors import DataError

PCM, EXTENSIBLE = 1, 0xFFFE
MIN_RATE, MAX_RATE = 1000, 1 << 20  # samples per second; beyond them a header is wrong, and costly to believe


def read_wav(content: bytes, where: str) -> tuple[NDArray[np.int16], int]:
    """Samples and samples per second of a WAV file's bytes; 8-bit values v become (v - 128) * 256.

    Refused with `DataError`, which names `where`: another coding than PCM, several channels, other widths than 8 and
    16 bit, a file that is truncated, without samples, or whose header contradicts itself.
    """
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise DataError(
            f"{where}: starts with {content[:12].hex(' ')!r}, not with a WAV header (RIFF … WAVE)"
        )
    form = None
    at = 12
    while at + 8 <= len(content):
        name, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        body = content[at + 8 : at + 8 + size]
        if len(body) < size:
            raise DataError(
                f"{where}: chunk {name!r} should hold {size} bytes, {len(body)} are there; the file is truncated "
                "or its header wrong, fetch it again"
            )
        if name == b"fmt ":
            form = _format(body, where)
        elif name == b"data":
            if form is None:
                raise DataError(f"{where}: samples come before their format (no 'fmt ' chunk)")
            width, rate = form
            return _samples(body, width, where), rate
        at += 8 + size + size % 2
    raise DataError(f"{where}: holds no samples (no 'data' chunk); the file is truncated, fetch it again")


def _format(body: bytes, where: str) -> tuple[int, int]:
    """Bytes per sample and rate."""
    if len(body) < 16:
        raise DataError(f"{where}: its format chunk has {len(body)} bytes; 16 at least")
    coding, channels, rate, _, block, bits = struct.unpack("<HHIIHH", body[:16])
    if coding == EXTENSIBLE and len(body) >= 26:
        coding = int.from_bytes(body[24:26], "little")
    if coding != PCM or bits not in (8, 16):
        raise DataError(
            f"{where}: WAV coding {coding} of {bits} bits; PCM of 8 or 16 bits is read, convert it (for example "
            "`sox IN.wav -e signed -b 16 OUT.wav`)"
        )
    if channels != 1:
        raise DataError(
            f"{where}: {channels} channels; one is read, mix them down (`sox IN.wav -c 1 OUT.wav`)"
        )
    if block != bits // 8 or not MIN_RATE <= rate <= MAX_RATE:
        raise DataError(
            f"{where}: header says {bits} bits in blocks of {block} bytes, {rate} samples per second"
        )
    return block, rate


def _samples(body: bytes, width: int, where: str) -> NDArray[np.int16]:
    if not body or len(body) % width:
        raise DataError(f"{where}: {len(body)} bytes of samples of {width} bytes each")
    if width == 1:
        return (np.frombuffer(body, np.uint8).astype(np.int16) - 128) * np.int16(256)
    return np.frombuffer(body, "<i2").astype(np.int16)
