"""The tests; nothing may import TensorFlow before its threads are set here."""

import os

# Two processes share two cores, and neither gets faster by threads that wait for each other.
for kind in ("INTRA", "INTER"):
    os.environ.setdefault(f"TF_NUM_{kind}OP_THREADS", "1")
