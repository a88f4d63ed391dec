import pytest

from leankeras.errors import ParameterError
from leankeras.searching import Candidate

FULL = Candidate(
    shares={"conv": 0.5, "conv2": 0.25}, round_to=4, steps=2, prune_epochs=6, distil_epochs=20,
    temperature=4.0, alpha=0.2, qat_epochs=3, mode="int8", keep_float=("logits",),
)  # fmt: skip


@pytest.mark.parametrize("candidate", [FULL, Candidate(), Candidate(mode="float32")])
def test_a_chain_comes_back_from_its_text(candidate, tmp_path):
    assert Candidate.from_json(candidate.to_json()) == candidate
    (tmp_path / "chain.json").write_text(candidate.to_json())
    assert Candidate.read(tmp_path / "chain.json") == candidate


def test_equal_architectures_share_a_name_whatever_their_training():
    trained = Candidate(FULL.shares, 4, 1, 99, 5, None, mode="int8", keep_float=("logits",))
    assert trained.architecture == FULL.architecture
    assert Candidate({"conv": 0.5}).architecture != FULL.architecture
    assert Candidate({"conv": 0.0}).architecture == Candidate().architecture


def test_a_chain_says_what_it_does():
    told = str(FULL)
    for part in ("50 % of conv", "in 2 steps", "T 4", "3 epochs", "logits in float"):
        assert part in told
    assert str(Candidate()) == "int8"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"shares": {"conv": 1.0}}, "fraction: saw 1.0"),
        ({"shares": [0.5]}, "shares: saw [0.5]"),
        ({"steps": 0}, "steps: saw 0"),
        ({"prune_epochs": True}, "prune_epochs: saw True"),
        ({"mode": "int4"}, "mode: saw 'int4'"),
        ({"temperature": -1.0}, "temperature: saw -1.0"),
        ({"mode": "float32", "qat_epochs": 2}, "mode 'float32' with qat_epochs"),
        ({"keep_float": "conv"}, "keep_float: saw 'conv'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, told):
    with pytest.raises(ParameterError) as error:
        Candidate(**settings)
    assert str(error.value).startswith(told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ("[]", "saw [] in a chain"),
        ('{"fraction": 0.5}', "saw 'fraction' in a chain"),
        ('{"steps": 1.5}', "steps: saw 1.5"),
    ],
)
def test_a_file_that_is_no_chain_is_refused_with_its_name(text, told, tmp_path):
    path = tmp_path / "chain.json"
    path.write_text(text)
    with pytest.raises(ParameterError, match="chain") as error:
        Candidate.read(path)
    assert told in str(error.value)
    assert str(path) in str(error.value)
    with pytest.raises(ParameterError, match="cannot be read"):
        Candidate.read(tmp_path / "none.json")
