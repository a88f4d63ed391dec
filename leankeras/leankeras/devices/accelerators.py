"""The NPUs that can be asked for, and the system that an estimate for each of them assumes."""

U55, U65 = ("Ethos_U55_High_End_Embedded", "Shared_Sram"), ("Ethos_U65_High_End", "Dedicated_Sram")

# name to the clock and the memories around it, by the names in Vela's own configuration
NPUS = {
    **dict.fromkeys((f"ethos-u55-{macs}" for macs in (32, 64, 128, 256)), U55),
    **dict.fromkeys((f"ethos-u65-{macs}" for macs in (256, 512)), U65),
}
