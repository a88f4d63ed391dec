"""A notebook's progress bar in the terminal, which also says how far a training cell is."""

import sys
from typing import Any

from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines

from kopt.workspace.training_line import NEWS, PROGRESS

ENGINE = "kopt"


class _Client(PapermillNotebookClient):
    _cell = 0

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        told, bar = msg["content"].get("metadata") or {}, self.nb_man.pbar
        if NEWS in told:
            bar.write(told[NEWS], file=sys.stderr)
        if PROGRESS in told or cell_index != self._cell:
            self._cell = cell_index
            bar.set_postfix_str(told.get(PROGRESS, ""), refresh=sys.stderr.isatty())
        return super().process_message(msg, cell, cell_index)


class NotebookEngine(NBClientEngine):
    """papermill's own engine, with a client that reads what the cells say about themselves."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: Any, kernel_name: str, start_timeout: int, input_path: str, **options: Any
    ) -> Any:
        """Run the cells."""
        options |= {"kernel_name": kernel_name, "startup_timeout": start_timeout}
        return _Client(nb_man, **options).execute()


papermill_engines.register(ENGINE, NotebookEngine)
