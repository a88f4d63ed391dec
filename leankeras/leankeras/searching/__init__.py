"""Search for the best chain of compression within a budget, with Optuna and cheap tests first."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Candidate": ".candidate",
        "DaskPool": ".dask_pool",
        "Materials": ".chain",
        "Search": ".outcome",
        "Settings": ".session",
        "Space": ".space",
        "Tasks": ".rounds",
        "ThisProcess": ".rounds",
        "Trials": ".study",
        "Clock": ".rounds",
        "Goal": ".goal",
        "find_space": ".space",
        "in_rounds": ".rounds",
        "page_sections": ".page",
        "run_session": ".session",
        "shrink": ".chain",
        "teach": ".chain",
    },
)
