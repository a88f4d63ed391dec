"""Draws the chest CT slices of the case `nodule`; ct_slices.md says what they are based on."""

from typing import NamedTuple

import numpy as np

SIDE, MM = 256, 1.4  # pixels a side, millimetres a pixel
AIR, FAT, MUSCLE, BONE = -1000.0, -100.0, 50.0, 300.0
LUNG = (-860.0, -700.0)  # differs by patient
SOLID, NONSOLID = (-10.0, 100.0), -630.0
NOISE = (15.0, 40.0)  # standard deviation; from a standard dose to a low one
DIAMETERS = (5.0, 25.0)  # mm
VESSELS = (30, 60)  # a slice
SLICES = 5  # a patient

ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE].astype(np.float32) * MM  # position in mm


class Chest(NamedTuple):
    """A patient's slice without vessels, where its lungs are, and their pixels."""

    image: np.ndarray
    lungs: np.ndarray
    pixels: np.ndarray


def draw(patients: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slices of some patients, five of each, always the same for a seed.

    Returns:
        The slices in Hounsfield units, ``(n, 256, 256)``; which pixels belong to a nodule, of the
        same shape; and the patient of each slice, ``(n,)``.
    """
    random = np.random.default_rng(seed)
    images = np.empty((patients * SLICES, SIDE, SIDE), np.float32)
    marks = np.zeros(images.shape, bool)
    for patient in range(patients):
        chest = _chest(random)
        noise = random.uniform(*NOISE)
        for number in range(patient * SLICES, (patient + 1) * SLICES):
            images[number] = chest.image
            for _ in range(random.integers(*VESSELS)):
                _vessel(images[number], chest, random)
            for _ in range(random.integers(0, 4)):
                _nodule(images[number], marks[number], chest, random)
            images[number] += _noise(noise, random)
    return images, marks, np.repeat(np.arange(patients), SLICES)


def found(outputs: np.ndarray, marks: np.ndarray) -> str:
    """The share of nodules of which at least half the pixels are marked."""
    found = [
        np.mean(output[tuple(spot.T)] > 0.5) >= 0.5
        for output, mark in zip(outputs[..., 0], marks[..., 0], strict=True)
        for spot in _spots(mark)
    ]
    return f"{np.mean(found):.0%} of {len(found)} nodules found" if found else "no nodules to find"


def _spots(mark: np.ndarray) -> list[np.ndarray]:
    """The pixels of each spot of neighbouring marked ones, arrays of shape ``(pixels, 2)``."""
    left, spots = set(map(tuple, np.argwhere(mark))), []
    while left:
        spot, edge = [], [left.pop()]
        while edge:
            y, x = edge.pop()
            spot.append((y, x))
            near = left & {(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)}
            left -= near
            edge += near
        spots.append(np.array(spot))
    return spots


def _chest(random: np.random.Generator) -> Chest:
    size, shift = random.uniform(0.9, 1.05), random.uniform(-8, 8, 2)
    y, x = (ROWS - 179 - shift[0]) / size, (COLUMNS - 179 - shift[1]) / size
    image = np.full((SIDE, SIDE), AIR, np.float32)
    fat = random.uniform(6, 20)
    image[_inside(y, x, 110, 160)] = FAT
    image[_inside(y, x, 110 - fat, 160 - fat)] = MUSCLE
    for angle in np.linspace(0, 2 * np.pi, 14) + random.uniform(0, 0.4):
        rib = y - (98 - fat) * np.sin(angle), x - (148 - fat) * np.cos(angle)
        image[_inside(*rib, 4, 9)] = BONE
    sides = [_inside(y + random.uniform(-4, 4), x - side * 66, 76, 50) for side in (-1, 1)]
    heart = _inside(y + random.uniform(15, 30), x - 25, 40, 48)
    spine = _inside(y - 62, x, 18, 20)
    lungs = (sides[0] | sides[1]) & ~heart & ~spine
    density = random.uniform(*LUNG) + 40 * y / 76  # denser towards the back
    image[lungs] = density[lungs]
    image[spine] = BONE
    return Chest(image, lungs, np.argwhere(lungs))


def _inside(y: np.ndarray, x: np.ndarray, height: float, width: float) -> np.ndarray:
    return (y / height) ** 2 + (x / width) ** 2 < 1


def _blend(image: np.ndarray, at: tuple, distance: np.ndarray, density: float) -> None:
    """Fill what is inside a distance of 0 px; pixels on the edge get a part of it."""
    part = np.clip(0.5 - distance, 0, 1)
    image[at] += part * (density - image[at])


def _window(centre: np.ndarray, reach: int) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """A square around a pixel, and the distances in px from it by row and column."""
    low, high = np.maximum(centre - reach, 0), np.minimum(centre + reach + 1, SIDE)
    rows, columns = (np.arange(*ends) for ends in zip(low, high, strict=True))
    at = slice(low[0], high[0]), slice(low[1], high[1])
    return at, rows[:, np.newaxis] - centre[0], columns - centre[1]


def _vessel(image: np.ndarray, chest: Chest, random: np.random.Generator) -> None:
    """A straight piece of a vessel; a short one looks like a small nodule, but thinner."""
    half = random.exponential(4.0)
    angle, radius = random.uniform(0, np.pi), random.uniform(0.4, 1.7)
    at, y, x = _window(chest.pixels[random.integers(len(chest.pixels))], int(half + radius) + 2)
    along = y * np.sin(angle) + x * np.cos(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    distance = np.hypot(np.maximum(abs(along) - half, 0), across) - radius
    distance = np.where(chest.lungs[at], distance, 1)
    _blend(image, at, distance, MUSCLE)


def _nodule(
    image: np.ndarray, marks: np.ndarray, chest: Chest, random: np.random.Generator
) -> None:
    """A nodule with a wavy edge, a quarter of them nonsolid; in the wall too if it lies there."""
    low, high = np.log(DIAMETERS)
    radius = np.exp(random.uniform(low, high)) / MM / 2
    at, y, x = _window(chest.pixels[random.integers(len(chest.pixels))], int(1.3 * radius) + 2)
    waves, phase = random.integers(2, 6), random.uniform(0, 2 * np.pi)
    wavy = 1 + random.uniform(0, 0.2) * np.sin(waves * np.arctan2(y, x) + phase)
    distance = np.hypot(y, x) - radius * wavy
    density = NONSOLID if random.uniform() < 0.25 else random.uniform(*SOLID)
    distance = np.where(chest.lungs[at], distance, 1)
    _blend(image, at, distance, density)
    marks[at] |= distance < 0


def _noise(deviation: float, random: np.random.Generator) -> np.ndarray:
    """Noise whose neighbouring pixels are alike, as reconstruction leaves it."""
    noise = random.standard_normal((SIDE, SIDE), np.float32)
    for axis in (0, 1):
        noise = (np.roll(noise, 1, axis) + 2 * noise + np.roll(noise, -1, axis)) / 4
    return noise * np.float32(deviation * 8 / 3)  # each axis left sqrt(6) / 4 of it
