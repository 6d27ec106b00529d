"""Virtual machine sizes and what they have.

https://learn.microsoft.com/azure/virtual-machines/sizes
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    name: str
    cpus: int
    memory_gib: float
    data_disks: int

    @property
    def memory_bytes(self) -> int:
        return int(self.memory_gib * 2**30)


def _family(pattern: str, rows: dict[int, tuple[float, int]]) -> list[Size]:
    return [Size(pattern.format(cpus), cpus, memory, disks) for cpus, (memory, disks) in rows.items()]


_D = {2: (8.0, 4), 4: (16.0, 8), 8: (32.0, 16), 16: (64.0, 32), 32: (128.0, 32), 48: (192.0, 32), 64: (256.0, 32)}
_E = {2: (16.0, 4), 4: (32.0, 8), 8: (64.0, 16), 16: (128.0, 32), 32: (256.0, 32), 48: (384.0, 32), 64: (504.0, 32)}
_F = {2: (4.0, 4), 4: (8.0, 8), 8: (16.0, 16), 16: (32.0, 32), 32: (64.0, 32), 48: (96.0, 32), 64: (128.0, 32)}

SIZES: dict[str, Size] = {
    size.name.lower(): size
    for size in [
        Size("Standard_B1s", 1, 1.0, 2),
        Size("Standard_B1ms", 1, 2.0, 2),
        Size("Standard_B2s", 2, 4.0, 4),
        Size("Standard_B2ms", 2, 8.0, 4),
        Size("Standard_B4ms", 4, 16.0, 8),
        Size("Standard_B8ms", 8, 32.0, 16),
        *_family("Standard_B{}s_v2", {2: (8.0, 4), 4: (16.0, 8), 8: (32.0, 16)}),
        *_family("Standard_B{}ls_v2", {2: (4.0, 4), 4: (8.0, 8), 8: (16.0, 16)}),
        Size("Standard_A2_v2", 2, 4.0, 4),
        Size("Standard_A4_v2", 4, 8.0, 8),
        Size("Standard_DS1_v2", 1, 3.5, 4),
        Size("Standard_DS2_v2", 2, 7.0, 8),
        Size("Standard_DS3_v2", 4, 14.0, 16),
        Size("Standard_DS4_v2", 8, 28.0, 32),
        Size("Standard_D1_v2", 1, 3.5, 4),
        Size("Standard_D2_v2", 2, 7.0, 8),
        Size("Standard_D3_v2", 4, 14.0, 16),
        *(s for v in ("D{}_v3", "D{}s_v3", "D{}_v4", "D{}s_v4", "D{}as_v4", "D{}ds_v4", "D{}_v5", "D{}s_v5", 
                      "D{}as_v5", "D{}ads_v5", "D{}ds_v5", "D{}s_v6", "D{}ds_v6",
                      "D{}ads_v6") for s in _family("Standard_" + v, _D)),
        *(s for v in ("E{}s_v3", "E{}s_v4", "E{}s_v5", "E{}as_v5", "E{}ds_v5") for s in _family("Standard_" + v, _E)),
        *_family("Standard_F{}s_v2", _F),
    ]
}  # fmt: skip


def find_size(name: str) -> Size | None:
    return SIZES.get(name.lower())
