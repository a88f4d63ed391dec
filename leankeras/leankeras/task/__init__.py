"""What the outputs of a model mean: the task, its score, and how both are found out."""

from leankeras.lazy import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "AnyScore": ".score",
        "Merit": ".score",
        "Quantities": ".law",
        "Score": ".score",
        "SeveralTasks": ".task",
        "TASKS": ".task",
        "Task": ".task",
        "check_labels": ".task",
        "compare": ".score",
        "infer_task": ".task",
        "standard_error": ".score",
        "value_of": ".score",
    },
)
