"""What this machine has for looking at devices, and how to get the rest."""

import shutil
from importlib.util import find_spec

import pandas as pd

from leankeras.devices.emulator import find_emulator

HOW_TO = {
    "emulator": ("the answers of a 64-bit ARM processor", "kopt devices --install"),
    "tflite-micro": ("answers and memory on a microcontroller", "install leankeras[micro]"),
    "ethos-u-vela": ("an estimate for an Ethos-U NPU", "install leankeras[micro]"),
    "ssh": ("deployment to a device", "install the OpenSSH client"),
}


def tools() -> pd.DataFrame:
    """The tools by name: whether each is there, what it gives, how to get it."""
    there = {
        "emulator": find_emulator() is not None,
        "tflite-micro": find_spec("tflite_micro") is not None,
        "ethos-u-vela": find_spec("ethosu") is not None,
        "ssh": shutil.which("ssh") is not None,
    }
    return pd.DataFrame(
        [
            {"tool": name, "there": there[name], "gives": gives, "get_it": how}
            for name, (gives, how) in HOW_TO.items()
        ]
    ).set_index("tool")
