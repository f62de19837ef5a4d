"""Rows of attacks on models that Tenuto knows nothing about."""

import numpy as np
import pandas as pd
import pytest
import torch

import tenuto
from tenuto.attacks import APGD, Linf, Noise, ReleasedAttack
from tenuto.errors import ConfigError, DataError
from tenuto.models.heads import Prediction
from tenuto.store.rows import concept_names, emotion_names, read_rows, scale_of, unit_of

CLIPS = 5
SAMPLES = "samples (full scale 1)"
ATTACK = APGD(Linf(0.05), steps=4)


def network(outputs=2):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(30, outputs), torch.nn.Sigmoid())


def attacked(outputs=2, attack=ATTACK, model=None):
    made = torch.Generator().manual_seed(1)
    inputs, labels = torch.rand(CLIPS, 30, generator=made), torch.rand(CLIPS, outputs, generator=made)
    return attack(model or network(outputs), inputs, labels), labels


def written(**more):
    result, labels = attacked()
    known = {"attack": ATTACK, "labels": labels, "emotions": ("valence", "arousal")}
    return tenuto.rows(result, **known | more)


def test_a_result_becomes_rows_that_come_back_from_their_file(tmp_path):
    rows = written(unit=SAMPLES, scale=(1.0, 7.0), system="waves", out=tmp_path / "rows.csv")
    back = read_rows(tmp_path / "rows.csv")
    assert emotion_names(back) == ("valence", "arousal")
    assert (unit_of(back), scale_of(back)) == (SAMPLES, (1.0, 7.0))
    assert list(back["clip"]) == ["000", "001", "002", "003", "004"]
    assert (back["run"].iloc[0], back["epsilon"].iloc[0]) == ("waves-0", 0.05)
    np.testing.assert_array_equal(back["adversarial_valence"].astype(np.float32), rows["adversarial_valence"])
    assert (back["linf"] <= 0.05 * (1 + 1e-6)).all()


def test_rows_without_a_unit_are_not_compared_with_those_of_the_log_spectrogram():
    assert unit_of(written()) == "units of the inputs"


def test_rows_of_several_attacks_are_compared_by_the_worst():
    noise, labels = attacked(attack=Noise(Linf(0.05)))
    weak = tenuto.rows(
        noise, attack=Noise(Linf(0.05)), labels=labels, emotions=("valence", "arousal"), protocol="Noise"
    )
    both = pd.concat([weak, written(protocol="Noise")], ignore_index=True)
    systems = tenuto.compare(both, epsilon=0.05).systems
    worst = systems[systems["quantity"] == "attacked"]["mean"].iloc[0]
    alone = tenuto.compare(written()).systems
    assert worst >= alone[alone["quantity"] == "attacked"]["mean"].iloc[0]
    assert not tenuto.audit(both).failed


def test_one_output_needs_no_second_axis_and_no_name():
    result, labels = attacked(outputs=1)
    assert emotion_names(tenuto.rows(result, attack=ATTACK, labels=labels[:, 0])) == ("output_1",)


def test_concepts_are_columns():
    inner = network(5)

    def model(inputs):
        values = inner(inputs)
        return Prediction(values[:, :2], values[:, 2:])

    result, labels = attacked(model=model)
    rows = tenuto.rows(
        result, attack=ATTACK, labels=labels, concepts=() if result.clean_concepts is None else "abc"
    )
    assert concept_names(rows) == (() if result.clean_concepts is None else ("a", "b", "c"))


def test_an_attack_from_elsewhere_is_given_by_its_name():
    rows = written(attack="DeepFool", norm="l2", epsilon=3.0)
    assert list(rows.loc[0, ["attack", "objective", "norm", "epsilon"]]) == ["DeepFool", "unknown", "l2", 3.0]


def test_the_columns_of_an_attack_of_its_own_are_kept():
    attack = ReleasedAttack(iterations=2)
    result, labels = attacked(outputs=3, attack=attack)
    rows = tenuto.rows(result, attack=attack, labels=labels)
    assert {"threshold", "stored_l2"} <= set(rows.columns)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"labels": np.zeros((5, 3))},
            r"`labels` has shape \(5, 3\); the result has predictions of shape \(5, 2\)",
        ),
        ({"emotions": ("valence",)}, "`emotions` must be 2 different names, got valence"),
        ({"clips": ["a", "a", "b", "c", "d"]}, "`clips` must be 5 different names"),
        ({"concepts": ("melody",)}, "`concepts` names 1 concept; the result has none"),
        (
            {"attack": "DeepFool"},
            "`norm` of the attack DeepFool must be linf, l2, snr, amplitude, masked or none, got None",
        ),
        ({"norm": "l2"}, "are those of the attack. Leave them out"),
        ({"split": "all"}, "column split"),
        ({"scale": (7.0, 1.0)}, "the scale of 'model-0' is 7 to 1"),
    ],
)
def test_what_does_not_fit_the_result_is_refused(more, message):
    with pytest.raises((ConfigError, DataError), match=message):
        written(**more)


def test_parameters_of_results_are_refused_elsewhere():
    with pytest.raises(ConfigError, match="`labels` belongs to the result of an attack"):
        tenuto.rows(written(), labels=np.zeros((5, 2)))
