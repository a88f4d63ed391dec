"""TensorFlow's functions of each number, and of a whole axis: how they are called and written."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

# The name of a TensorFlow operation: what it is called, and how it is written.
ELEMENTWISE: dict[str, tuple[Callable[..., Any], str]] = {
    "AddV2": (tf.add, "({0} + {1})"),
    "Sub": (tf.subtract, "({0} - {1})"),
    "Mul": (tf.multiply, "({0} * {1})"),
    "RealDiv": (tf.divide, "({0} / {1})"),
    "FloorDiv": (tf.math.floordiv, "({0} // {1})"),
    "FloorMod": (tf.math.floormod, "({0} % {1})"),
    "DivNoNan": (tf.math.divide_no_nan, "tf.math.divide_no_nan({0}, {1})"),
    "Maximum": (tf.maximum, "tf.maximum({0}, {1})"),
    "Minimum": (tf.minimum, "tf.minimum({0}, {1})"),
    "Pow": (tf.pow, "({0} ** {1})"),
    "SquaredDifference": (tf.math.squared_difference, "tf.math.squared_difference({0}, {1})"),
    "Atan2": (tf.math.atan2, "tf.math.atan2({0}, {1})"),
    "Greater": (tf.greater, "({0} > {1})"),
    "GreaterEqual": (tf.greater_equal, "({0} >= {1})"),
    "Less": (tf.less, "({0} < {1})"),
    "LessEqual": (tf.less_equal, "({0} <= {1})"),
    "Equal": (tf.equal, "tf.equal({0}, {1})"),
    "NotEqual": (tf.not_equal, "tf.not_equal({0}, {1})"),
    "LogicalAnd": (tf.logical_and, "({0} & {1})"),
    "LogicalOr": (tf.logical_or, "({0} | {1})"),
    "LogicalNot": (tf.logical_not, "tf.logical_not({0})"),
    "SelectV2": (tf.where, "tf.where({0}, {1}, {2})"),
    "Relu": (tf.nn.relu, "tf.nn.relu({0})"),
    "Relu6": (tf.nn.relu6, "tf.nn.relu6({0})"),
    "Sigmoid": (tf.sigmoid, "tf.sigmoid({0})"),
    "Tanh": (tf.tanh, "tf.tanh({0})"),
    "Elu": (tf.nn.elu, "tf.nn.elu({0})"),
    "Selu": (tf.nn.selu, "tf.nn.selu({0})"),
    "Softplus": (tf.math.softplus, "tf.math.softplus({0})"),
    "Softsign": (tf.nn.softsign, "tf.nn.softsign({0})"),
    "Exp": (tf.exp, "tf.exp({0})"),
    "Expm1": (tf.math.expm1, "tf.math.expm1({0})"),
    "Log": (tf.math.log, "tf.math.log({0})"),
    "Log1p": (tf.math.log1p, "tf.math.log1p({0})"),
    "Neg": (tf.negative, "(-{0})"),
    "Sqrt": (tf.sqrt, "tf.sqrt({0})"),
    "Rsqrt": (tf.math.rsqrt, "tf.math.rsqrt({0})"),
    "Square": (tf.square, "tf.square({0})"),
    "Reciprocal": (tf.math.reciprocal, "tf.math.reciprocal({0})"),
    "Abs": (tf.abs, "tf.abs({0})"),
    "Sign": (tf.sign, "tf.sign({0})"),
    "Floor": (tf.floor, "tf.floor({0})"),
    "Ceil": (tf.math.ceil, "tf.math.ceil({0})"),
    "Round": (tf.round, "tf.round({0})"),
    "Rint": (tf.math.rint, "tf.math.rint({0})"),
    "Sin": (tf.sin, "tf.sin({0})"),
    "Cos": (tf.cos, "tf.cos({0})"),
    "Erf": (tf.math.erf, "tf.math.erf({0})"),
    "IsNan": (tf.math.is_nan, "tf.math.is_nan({0})"),
    "IsInf": (tf.math.is_inf, "tf.math.is_inf({0})"),
    "IsFinite": (tf.math.is_finite, "tf.math.is_finite({0})"),
}
SAME_FUNCTION = {"Add": "AddV2", "BiasAdd": "AddV2"}
REDUCTIONS = {
    "Sum": (tf.reduce_sum, "tf.reduce_sum"),
    "Mean": (tf.reduce_mean, "tf.reduce_mean"),
    "Max": (tf.reduce_max, "tf.reduce_max"),
    "Min": (tf.reduce_min, "tf.reduce_min"),
    "Prod": (tf.reduce_prod, "tf.reduce_prod"),
    "Any": (tf.reduce_any, "tf.reduce_any"),
    "All": (tf.reduce_all, "tf.reduce_all"),
}
# What a chain of an elementwise operation is when it is done at once.
CHAINS = {"AddV2": "Sum", "Mul": "Prod", "Maximum": "Max", "Minimum": "Min"}
