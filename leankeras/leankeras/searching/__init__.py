"""Search for the best chain of compression within a budget, with Optuna and cheap tests first."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Candidate": ".candidate",
        "Clock": ".rounds",
        "GOALS": ".goal",
        "Goal": ".goal",
        "Materials": ".chain",
        "Progress": ".progress",
        "SAMPLERS": ".study",
        "SPACE_MODES": ".space",
        "Search": ".outcome",
        "Space": ".space",
        "Tasks": ".rounds",
        "Trials": ".study",
        "check_goal": ".goal",
        "check_reachable": ".empty",
        "figures": ".figures",
        "finalists": ".chain",
        "finalists_in_words": ".outcome",
        "find_space": ".space",
        "in_rounds": ".rounds",
        "judged": ".chain",
        "shrink": ".chain",
        "sieves_table": ".outcome",
        "teach": ".chain",
        "trials_table": ".outcome",
        "what_is_missed": ".outcome",
    },
)
