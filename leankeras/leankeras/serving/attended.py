"""MLServer for as long as somebody holds its standard input open, however that process ends.

``python -m leankeras.serving.attended start FOLDER``, as ``mlserver start FOLDER``
"""

import os
import signal
import threading

from mlserver.cli import main


def _end_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    main()
