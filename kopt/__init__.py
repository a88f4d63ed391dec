"""Make slow Keras models fast enough to deploy, and prove it.

The workbook's own helpers and the public names of leankeras. Names are imported on first use, so
``import kopt`` costs nothing.
"""

import leankeras
from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Case": ".case",
        "Epochs": ".case",
        "search": ".execution.searching",
        **dict.fromkeys(leankeras.__all__, "leankeras"),
    },
)
