"""Contrast between two colours (WCAG 2.2 requires 3 for lines and marks, 4.5 for text)."""

import re


def contrast(first, second):
    """The contrast ratio of two opaque colours, "#rrggbb" or "rgb(r, g, b)", from 1 to 21."""
    high, low = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(color):
    if color.startswith("#"):
        parts = [int(color[start : start + 2], 16) for start in (1, 3, 5)]
    else:
        parts = [float(part) for part in re.findall(r"[\d.]+", color)[:3]]
    linear = [
        part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4
        for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
