"""The conversion modes, in a module that imports nothing."""

MODES = ("float32", "float16", "dynamic", "int8", "int8-io", "uint8-io", "int16x8")
INT8_MODES = ("int8", "int8-io", "uint8-io")
INTEGER_MODES = (*INT8_MODES, "int16x8")
