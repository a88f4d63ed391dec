"""What a few common microcontroller boards have room for, as their makers state it."""

from dataclasses import dataclass

from leankeras.errors import ParameterError


@dataclass(frozen=True)
class Board:
    """A board.

    Attributes:
        flash_kb: flash memory in kB (1024 bytes), of which the program takes a part.
        ram_kb: RAM in kB (1024 bytes), for the arena and everything else.
        source: where these figures are from.
    """

    flash_kb: int
    ram_kb: int
    source: str


PICO = "https://www.raspberrypi.com/documentation/microcontrollers/pico-series.html"
BOARDS = {
    "Arduino UNO R4 Minima": Board(256, 32, "https://docs.arduino.cc/hardware/uno-r4-minima/"),
    "Arduino Nano 33 BLE Sense": Board(
        1024, 256, "https://docs.arduino.cc/hardware/nano-33-ble-sense/"
    ),
    "Raspberry Pi Pico": Board(2048, 264, PICO),
    "Raspberry Pi Pico 2": Board(4096, 520, PICO),
    "STM32F746G-DISCO": Board(
        1024, 340, "https://www.st.com/en/evaluation-tools/32f746gdiscovery.html"
    ),
    "ESP32-S3-DevKitC-1-N8": Board(
        8192,
        512,
        "https://docs.espressif.com/projects/esp-dev-kits/en/latest/esp32s3/esp32-s3-devkitc-1/",
    ),
}


def find_board(name: str) -> Board:
    """A board by its name.

    Raises:
        ParameterError: it is not in the table.
    """
    if name not in BOARDS:
        raise ParameterError(f"board: saw {name!r}; expected {', '.join(BOARDS)}")
    return BOARDS[name]
