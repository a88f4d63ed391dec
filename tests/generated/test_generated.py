"""A hundred random models, each thrown at one of the calls: never a traceback, never a wrong file.

``benchmarks/generated_models.py`` does the same with as many models as time allows.
"""

import keras
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.generated.grammar import grow
from tests.generated.trial import ACTIONS, FAULTS, attempt

CONVERSIONS = [action for action in ACTIONS if action.startswith("convert")]
OTHERS = [action for action in ACTIONS if action not in CONVERSIONS]


# Keras says so of a model whose mask ends at a layer; such models are to be done right, too.
@pytest.mark.filterwarnings("ignore:.*does not support masking:UserWarning")
@pytest.mark.parametrize(("actions", "count"), [(CONVERSIONS, 60), (OTHERS, 40)])
def test_every_model_is_done_right_or_refused_by_name(actions, count, tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated")

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def throw(data):
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        model = grow(lambda options: data.draw(st.sampled_from(list(options))))
        action = data.draw(st.sampled_from(actions))
        outcome = attempt(action, model, folder)
        assert outcome.result not in FAULTS, f"{action}: {outcome}"

    throw()
