"""Adversarial training: when it attacks, with what, and that the network does not notice."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from tenuto.attacks import ReleasedAttack
from tenuto.config import AdversarialConfig
from tenuto.data.batches import Batch
from tenuto.errors import AttackError, ConfigError
from tenuto.models import build, for_attack
from tenuto.models.backbone import Backbone
from tenuto.training import loop
from tenuto.training.adversarial import is_attacked, perturb
from tenuto.training.update import Trainee
from tests import small_runs
from tests.small_runs import numbers, settings

STRONG = AdversarialConfig(every=5, iterations=6, step_size=0.2)
"""Few steps, but so large that thresholds are met on the way."""


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build("A2B2E", width=0.0625).train()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    labels = torch.rand(3, 8, generator=generator)
    return Batch(("a", "b", "c"), torch.randn(3, 1, 313, 149, generator=generator), labels, torch.rand(3, 7))


def test_the_study_attacks_every_fifth_epoch():
    config = AdversarialConfig()
    attacked = [epoch for epoch in range(1, 200) if is_attacked(config, epoch)]
    assert attacked == list(range(5, 196, 5))


def test_the_stored_perturbation_is_added_not_the_last(network, batch):
    attack = ReleasedAttack(measure="corr", optimizer="Adam", step_size=0.2, iterations=6)
    result = attack(for_attack(network), batch.inputs, batch.labels)
    assert not torch.equal(result.stored_perturbation, result.perturbation)
    assert result.stored_perturbation.any()
    assert torch.equal(perturb(network, batch, STRONG), batch.inputs + result.stored_perturbation)


@pytest.mark.parametrize(
    "changed", [{"measure": "mse"}, {"optimizer": "SGD"}, {"iterations": 2}, {"step_size": 0.1}]
)
def test_every_setting_reaches_the_attack(network, batch, changed):
    config = STRONG.model_copy(update=changed)
    given = {name: getattr(config, name) for name in ("measure", "optimizer", "iterations", "step_size")}
    result = ReleasedAttack(**given)(for_attack(network), batch.inputs, batch.labels)
    assert torch.equal(perturb(network, batch, config), batch.inputs + result.stored_perturbation)


def test_the_network_is_left_as_it_was(network, batch):
    loop._loss(network(batch.inputs), batch, 1.0).backward()
    network.backbone.stages[1].eval()  # a mode of its own
    state = copy.deepcopy(network.state_dict())
    gradients = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
    modes = [part.training for part in network.modules()]
    perturb(network, batch, STRONG)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    left = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(left, gradients, strict=True))
    assert [part.training for part in network.modules()] == modes
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_dropout_takes_no_part_and_no_random_number_is_drawn(network, batch):
    before = torch.get_rng_state()
    first = perturb(network, batch, STRONG)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, perturb(network, batch, STRONG))


def test_a_clip_that_cannot_be_attacked_is_named(network, batch):
    labels = batch.labels.clone()
    labels[1] = 0.5
    with pytest.raises(AttackError, match=r"\bb\b"):
        perturb(network, Batch(batch.clips, batch.inputs, labels, batch.concepts), STRONG)


def test_each_batch_is_updated_clean_then_attacked_with_the_emotion_loss_alone(
    prepared, tmp_path, monkeypatch
):
    """Even with weight 0.5: half concept loss in the normal update, none in the adversarial one."""
    learn = Trainee.learn
    calls: list[Any] = []
    expected: dict[tuple[str, ...], torch.Tensor] = {}
    attack = ReleasedAttack(step_size=0.05, iterations=3)

    def recorded(trainee, inputs, batch):
        assert trainee.network.training
        clean = inputs is batch.inputs
        epoch = 1 + [kind for _, kind, _ in calls].count("clean") // 6 if clean else calls[-1][0]
        calls.append((epoch, "clean" if clean else "attacked", trainee.loss.keywords["weight"]))
        if not clean:
            assert torch.equal(inputs, expected.pop(batch.clips))
        loss = learn(trainee, inputs, batch)
        if clean and epoch == 2:  # attacked as the network is after the normal update
            result = attack(for_attack(trainee.network), batch.inputs, batch.labels)
            expected[batch.clips] = batch.inputs + result.stored_perturbation
        return loss

    monkeypatch.setattr(Trainee, "learn", recorded)
    config = settings("A2M2E", epochs=3, adversarial=small_runs.ATTACKED)
    loop.train(config, prepared, tmp_path)
    pair = [(2, "clean", 0.5), (2, "attacked", 1.0)]
    assert calls == [(1, "clean", 0.5)] * 6 + pair * 6 + [(3, "clean", 0.5)] * 6


def test_the_loss_of_history_is_that_of_the_normal_updates(prepared, tmp_path, monkeypatch):
    losses = {"clean": 1.0, "attacked": 100.0}
    monkeypatch.setattr(
        Trainee,
        "learn",
        lambda trainee, inputs, batch: torch.tensor(
            losses["clean" if inputs is batch.inputs else "attacked"]
        ),
    )
    rows: list[float] = []
    loop.train(settings("aA2E"), prepared, tmp_path, progress=lambda row: rows.append(row["loss"]))
    assert rows == [1.0] * 4


def test_adversarial_training_changes_the_weights_from_its_first_epoch_on(prepared, tmp_path):
    plain, attacked = (
        loop.train(settings(system, epochs=2), prepared, tmp_path) for system in ("A2E", "aA2E")
    )
    histories = [(run / "history.csv").read_text().splitlines() for run in (plain, attacked)]
    assert histories[0][:2] == histories[1][:2]  # header and epoch 1; epoch 2 is the first with attacks
    assert histories[0][2] != histories[1][2]
    assert numbers(plain)["checkpoint.safetensors"] != numbers(attacked)["checkpoint.safetensors"]


def test_training_in_bfloat16_attacks_in_bfloat16(prepared, tmp_path, monkeypatch):
    asked = []
    forward = Backbone.forward

    def seen(self, excerpts):
        features = forward(self, excerpts)
        asked.append((self.training, features.dtype))
        return features

    monkeypatch.setattr(Backbone, "forward", seen)
    loop.train(settings("aA2E", epochs=2, precision="bfloat16"), prepared, tmp_path)
    updates = {dtype for training, dtype in asked if training}
    others = [dtype for training, dtype in asked if not training]
    assert updates == {torch.bfloat16}
    # Two epochs are validated in float32; in the second, six batches are attacked in three iterations.
    assert others.count(torch.float32) == 2
    assert others.count(torch.bfloat16) == 18


def test_tf32_holds_for_the_backward_pass_too_and_not_for_validation(prepared, tmp_path, monkeypatch):
    """The flags alone, since a CPU does not compute in TF32."""
    seen = []
    forward, backward = Backbone.forward, torch.Tensor.backward

    def note(self, excerpts):
        seen.append((self.training, torch.backends.cudnn.allow_tf32))
        return forward(self, excerpts)

    def note_backward(self):
        seen.append(("backward", torch.backends.cudnn.allow_tf32))
        return backward(self)

    monkeypatch.setattr(loop, "require_precision", lambda precision, device: None)
    monkeypatch.setattr(Backbone, "forward", note)
    monkeypatch.setattr(torch.Tensor, "backward", note_backward)
    loop.train(settings("A2E", epochs=1, precision="tf32"), prepared, tmp_path)
    assert set(seen) == {(True, True), ("backward", True), (False, False)}
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="only GPUs compute in TF32"):
        loop.train(settings("A2E", epochs=1, precision="tf32"), prepared, tmp_path)
