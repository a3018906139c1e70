"""NIST SPHERE, the file format of the LDC's speech: one channel of PCM or mu-law, read without trusting the header.

Layout: a line `NIST_1A`, a line with the header's size (a multiple of 1024), lines `name -type value` up to
`end_head`, padding, samples.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from bitspike.data.wav import MAX_RATE, MIN_RATE
from bitspike.errors import DataError

MAX_HEADER = 1 << 16
_FIELD = re.compile(rb"([\w-]+)[ \t]+-(i|r|s\d+)[ \t](.*)")


def read_sphere(content: bytes, where: str) -> tuple[NDArray[np.int16], int]:
    """Samples and samples per second of a SPHERE file's bytes.

    `sample_coding` pcm (1 byte signed, times 256; or 2 bytes, `sample_byte_format` 01 low byte first, 10 high byte
    first) or ulaw (ITU-T G.711, expanded to 16 bits). Refused with `DataError`, which names `where`: compressed
    samples, several channels, a file shorter or longer than its header says, a header that contradicts itself.
    """
    fields, start = _header(content, where)
    coding = fields.get("sample_coding", b"pcm").decode("ascii", "replace").lower()
    if coding not in ("pcm", "ulaw", "mu-law"):
        raise DataError(
            f"{where}: SPHERE samples are coded {coding[:60]!r}; plain pcm or ulaw is read. Convert it first: "
            "`sph2pipe -p IN OUT` or `w_decode -o pcm IN OUT` expand the shorten compression"
        )
    width = _whole(fields, "sample_n_bytes", where, 1, default=2 if coding == "pcm" else 1)
    count = _whole(fields, "sample_count", where, 1)
    rate = _whole(fields, "sample_rate", where, 1)
    channels = _whole(fields, "channel_count", where, 1, default=1)
    if channels != 1:
        raise DataError(f"{where}: {channels} channels; one is read, extract it (`sph2pipe -c 1 IN OUT`)")
    if width > (2 if coding == "pcm" else 1) or not MIN_RATE <= rate <= MAX_RATE:
        raise DataError(f"{where}: header says {coding} of {width} bytes, {rate} samples per second")
    body = content[start:]
    if len(body) != count * width:
        raise DataError(
            f"{where}: header says {count} samples of {width} bytes, {len(body)} bytes follow it; the file is "
            "truncated or its header wrong, fetch it again"
        )
    if coding != "pcm":
        return _expand(np.frombuffer(body, np.uint8)), rate
    if width == 1:
        return np.frombuffer(body, np.int8).astype(np.int16) * np.int16(256), rate
    order = fields.get("sample_byte_format", b"")
    if order not in (b"01", b"10"):
        raise DataError(f"{where}: sample_byte_format is {order[:20]!r}; 01 (low byte first) or 10")
    return np.frombuffer(body, "<i2" if order == b"01" else ">i2").astype(np.int16), rate


def _header(content: bytes, where: str) -> tuple[dict[str, bytes], int]:
    """Values by name, and where samples start."""
    first, _, rest = content[: MAX_HEADER + 16].partition(b"\n")
    size_line, newline, _ = rest.partition(b"\n")
    if first.rstrip() != b"NIST_1A":
        raise DataError(f"{where}: starts with {content[:8]!r}, not with a SPHERE header (NIST_1A)")
    size = size_line.strip()
    if not newline or not re.fullmatch(rb"\d{1,6}", size) or not 16 <= int(size) <= MAX_HEADER:
        raise DataError(f"{where}: SPHERE header of size {size[:20]!r}; 1024 is usual, {MAX_HEADER} the most")
    lines = content[: int(size)].split(b"\n")[2:]
    ends = [i for i, line in enumerate(lines) if line.strip() == b"end_head"]
    if len(content) < int(size) or not ends:
        raise DataError(f"{where}: ends inside its header (no end_head); fetch it again")
    fields = {}
    for line in lines[: ends[0]]:
        line = line.strip()
        if not line or line.startswith(b";"):
            continue
        match = _FIELD.fullmatch(line)
        if not match:
            raise DataError(f"{where}: header line {line[:60]!r} is not `name -type value`")
        name, value = match[1].decode("ascii", "replace"), match[3].strip()
        if name in fields:
            raise DataError(f"{where}: header gives {name} twice")
        fields[name] = value
    return fields, int(size)


def _whole(fields: dict[str, bytes], name: str, where: str, least: int, default: int | None = None) -> int:
    if name not in fields and default is not None:
        return default
    value = fields.get(name, b"nothing")
    if not re.fullmatch(rb"\d{1,12}", value) or int(value) < least:
        raise DataError(f"{where}: header says {value[:20]!r} for {name}; a whole number from {least}")
    return int(value)


def _expand(codes: NDArray[np.uint8]) -> NDArray[np.int16]:
    """mu-law to 16 bits: with c inverted, +-((2 (c & 15) + 33) * 2^((c >> 4) & 7) - 33) * 4, minus where c >= 128."""
    inverted = (~codes).astype(np.int32)
    size = (((inverted & 15) * 2 + 33) << ((inverted >> 4) & 7)) - 33
    return np.where(inverted & 128, -4 * size, 4 * size).astype(np.int16)
