"""Outlines of the shapes that only training draws."""

from __future__ import annotations

import math


def turned(points: list[tuple[float, float]], degrees: float) -> list[tuple[float, float]]:
    """Return an outline turned clockwise around its centre."""
    turn = complex(math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))
    return [((complex(*point) * turn).real, (complex(*point) * turn).imag) for point in points]


def _moon() -> list[tuple[float, float]]:
    outer = [math.radians(angle) for angle in range(50, 311, 10)]
    inner = [(0.42 + 0.78 * math.cos(angle), 0.78 * math.sin(angle)) for angle in reversed(outer)]
    return [(math.cos(angle), math.sin(angle)) for angle in outer] + inner


def _heart() -> list[tuple[float, float]]:
    points = []
    for angle in range(0, 360, 15):
        turn = math.radians(angle)
        height = 13 * math.cos(turn) - 5 * math.cos(2 * turn) - 2 * math.cos(3 * turn) - math.cos(4 * turn)
        points.append((0.95 * math.sin(turn) ** 3, -height / 17))
    return points


def _drop() -> list[tuple[float, float]]:
    below = [math.radians(angle) for angle in range(-20, 201, 10)]
    return [(0.0, -1.0), *((0.6 * math.cos(angle), 0.4 + 0.6 * math.sin(angle)) for angle in below)]


MORE_OUTLINES = {
    "arrow": [(0.0, -1.0), (0.75, -0.1), (0.28, -0.1), (0.28, 0.95),
              (-0.28, 0.95), (-0.28, -0.1), (-0.75, -0.1)],
    "diamond": [(0.0, -1.0), (0.5, 0.0), (0.0, 1.0), (-0.5, 0.0)],
    "moon": _moon(),
    "cross": [(-0.32, -0.95), (0.32, -0.95), (0.32, -0.32), (0.95, -0.32), (0.95, 0.32), (0.32, 0.32),
              (0.32, 0.95), (-0.32, 0.95), (-0.32, 0.32), (-0.95, 0.32), (-0.95, -0.32), (-0.32, -0.32)],
    "heart": _heart(),
    "bolt": [(0.15, -1.0), (-0.6, 0.15), (-0.05, 0.15), (-0.25, 1.0),
             (0.6, -0.25), (0.05, -0.25), (0.45, -0.9)],
    "drop": _drop(),
}  # fmt: skip
"""Shape of training alone → its outline in a circle of radius 1."""
