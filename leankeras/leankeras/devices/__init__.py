"""What a file does on another machine: an ARM core, a microcontroller, an NPU, a host by ssh."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "BOARDS": ".boards",
        "CPUS": ".emulation",
        "NPUS": ".accelerators",
        "activation_memory": ".memory",
        "deploy": ".deployment",
        "emulate": ".emulation",
        "ethos_u": ".npu",
        "find_emulator": ".emulator",
        "install_emulator": ".emulator",
        "microcontroller": ".micro",
        "rollback": ".deployment",
        "survey_devices": ".survey",
        "tools": ".available",
        "write_workflow": ".workflow",
    },
)
