"""The rules about things a saved file does not keep."""

import ast
from collections.abc import Iterator

import keras

from leankeras.diagnosis.rules.graph import draws
from leankeras.diagnosis.rules.rule import Rule, passed
from leankeras.diagnosis.source import LayerSource, Reading, reading
from leankeras.diagnosis.syntax import (
    assigned,
    called,
    constant_int,
    dotted,
    made_of,
    names_in,
    own_attribute,
)
from leankeras.diagnosis.trial import Trial

PRIVATE = ("tensorflow.python", "keras.src", "keras._", "tf_keras.src", "tensorflow.core")
BASE_ARGUMENTS = {"name", "dtype", "trainable"}


def _attributes(layer: LayerSource) -> Iterator[tuple[str, str, ast.expr, Reading]]:
    """Each attribute set by the constructor and ``build``: method, name, value and reading."""
    for entry in ("__init__", "build"):
        for method in layer.reached(entry):
            for statement in ast.walk(method.node):
                for attribute, value in assigned(statement):
                    subject = f"self.{attribute}"
                    yield (
                        entry,
                        attribute,
                        value,
                        reading(method.source, statement, statement, subject, in_call=False),
                    )


def _made_twice(layer: LayerSource) -> Iterator[Reading]:
    first = set()
    for entry, attribute, value, one in _attributes(layer):
        if not made_of(value) or ".append(" in one.code:
            continue
        if entry == "__init__":
            first.add(attribute)
        elif attribute in first:
            yield one


def _variables(layer: LayerSource) -> Iterator[Reading]:
    for *_, value, one in _attributes(layer):
        calls = [part for part in ast.walk(value) if called(part) == "Variable"]
        if any(not dotted(part.func).startswith("keras.") for part in calls):
            yield one


def _is_constant(one: Reading, trial: Trial) -> bool:
    """Whether a variable is neither changed nor learnt, and a reloaded layer recreates it."""
    return one.subject in trial.made_anew and one.subject not in trial.lost_variables


def _is_drawn_again(one: Reading, trial: Trial) -> bool:
    """Whether a reloaded layer draws the same numbers."""
    return "reload-differs" in trial.passed or one.subject in trial.made_anew


def _drawn(layer: LayerSource) -> Iterator[Reading]:
    """Attributes made from random numbers, also through a local name."""
    names: set[str] = set()
    for method in layer.reached("__init__", "build"):
        for statement in ast.walk(method.node):
            if isinstance(statement, ast.Assign) and _is_drawn(statement.value, names):
                names |= {n for t in statement.targets if not own_attribute(t) for n in names_in(t)}
    for *_, value, one in _attributes(layer):
        if not made_of(value) and _is_drawn(value, names):
            yield one


def _is_drawn(value: ast.expr, names: set[str]) -> bool:
    draw = any(draws(part) and not _seeded(part) for part in ast.walk(value))
    return draw or bool(names_in(value) & names)


def _seeded(node: ast.Call) -> bool:
    generators = [part for part in ast.walk(node.func) if isinstance(part, ast.Call)]
    return any(generator.args for generator in generators) or any(
        word.arg == "seed" and constant_int(word.value) is not None for word in node.keywords
    )


def _lost_arguments(layer: LayerSource) -> Iterator[Reading]:
    """Arguments of the constructor that no user-defined get_config mentions."""
    configs, constructors = layer.reached("get_config"), layer.reached("__init__")
    if not configs or not constructors:
        return
    words = set()
    for config in configs:
        if "__dict__" in ast.unparse(config.node):
            return
        for node in ast.walk(config.node):
            words |= {word.arg for word in getattr(node, "keywords", ())}
            words |= {node.value} if isinstance(node, ast.Constant) else set()
    path, line = configs[0].source.path, configs[0].node.lineno
    arguments = constructors[0].node.args
    for argument in [*arguments.args, *arguments.kwonlyargs][1:]:
        if argument.arg not in words | BASE_ARGUMENTS:
            subject = f"{layer.cls.__name__}.{argument.arg}"
            yield Reading(path, line, argument.arg, subject, (line, line))


def _unregistered(layer: LayerSource) -> Iterator[Reading]:
    name = layer.cls.__name__
    if keras.saving.get_registered_name(layer.cls) == name:
        # The class itself may be unreadable even if one of its bases is not.
        own = [source for source in layer.classes if source.name == name]
        path, line = (own[0].path, own[0].node.lineno) if own else (name, 0)
        yield Reading(path, line, name, name, (line, line))


def _private_imports(layer: LayerSource) -> Iterator[Reading]:
    for source in layer.classes:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.Attribute) and dotted(node) in ("tf.python", "keras.src"):
                modules = [dotted(node).replace("tf.", "tensorflow.")]
            else:
                continue
            if any(module.startswith(PRIVATE) for module in modules):
                span = (node.lineno, node.end_lineno)
                yield Reading(source.path, node.lineno, ast.unparse(node), "imports", span)


RULES = [
    Rule(
        "created-again",
        "warning",
        "an attribute made of weights or sub-layers in __init__ and again in build",
        "The first ones stay in the list of weights and in the file, or are lost on reload.",
        "Create sub-layers in __init__ and weights in build, each once.",
        "`self.dense = Dense(8)` in both",
        reads=_made_twice,
        confirmed_by={"reload-differs": "", "reload-fails": ""},
    ),
    Rule(
        "tf-variable",
        "error",
        "a tf.Variable kept as an attribute",
        "Keras 3 does not track it: it is not in layer.weights, not saved and not trained.",
        "Use self.add_weight(shape=..., initializer=...) in build; for a constant, a NumPy array.",
        "`self.scale = tf.Variable(1.0)`",
        reads=_variables,
        confirmed_by={"reload-differs": "", "savedmodel-fails": "", "tflite-fails": "Var"},
        withdrawn=_is_constant,
    ),
    Rule(
        "random-attribute",
        "error",
        "a random tensor kept as an attribute",
        "A reloaded layer draws other numbers, so it computes another function.",
        "Keep it in a weight: self.add_weight(initializer='random_normal', trainable=False).",
        "`self.projection = tf.random.normal((8, 8))`",
        reads=_drawn,
        confirmed_by={"reload-differs": ""},
        withdrawn=_is_drawn_again,
    ),
    Rule(
        "lost-argument",
        "warning",
        "a constructor argument that does not survive get_config and from_config",
        "The reloaded layer has the default instead.",
        "Return it in get_config: return {**super().get_config(), 'units': self.units}; store "
        "arguments as they were given.",
        "`get_config` without `units`",
        reads=_lost_arguments,
        confirmed_by={"reload-differs": "", "reload-fails": "", "lost-argument": ""},
        withdrawn=lambda one, trial: one.subject in trial.kept_arguments,
    ),
    Rule(
        "lambda-layer",
        "error",
        "a Lambda layer with a Python function",
        "It is saved as bytecode, which Keras refuses to load in safe mode and which only one "
        "Python version can read.",
        "Use a keras.Layer subclass, or keras.ops on the Keras tensors.",
        "`keras.layers.Lambda(lambda x: x * 2)`",
        confirmed_by={"reload-fails": "Lambda|lambda|locate function"},
        withdrawn=passed("reload-differs"),
    ),
    Rule(
        "unregistered",
        "info",
        "a custom class that is not registered",
        "Loading a saved model needs custom_objects with exactly this class.",
        "Put @keras.saving.register_keras_serializable(package='my_project') above the class.",
        "`class Scale(keras.Layer)` without the decorator",
        reads=_unregistered,
    ),
    Rule(
        "private-import",
        "warning",
        "an import from TensorFlow's or Keras's private modules",
        "They move and disappear between versions.",
        "Use the public name, in keras.ops, keras.layers or tf.nn.",
        "`from tensorflow.python.ops import array_ops`",
        reads=_private_imports,
    ),
]
