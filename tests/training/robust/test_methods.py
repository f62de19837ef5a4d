"""Methods of robust training, on networks so small that what an update sees is known."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import re

import pytest
import torch
from torch import Tensor, nn

from tenuto.config import RobustConfig, RunConfig, presets, read_preset
from tenuto.data import Synthetic, prepare
from tenuto.data.batches import Batch
from tenuto.data.synthesis import synthesize
from tenuto.errors import AttackError, ConfigError
from tenuto.models import Prediction
from tenuto.models.systems import Network
from tenuto.training import loop
from tenuto.training.robust import METHODS, Method, build, complete_settings
from tenuto.training.update import Trainee

ATTACKS = ("pgd", "fast", "free", "trades")
CLIPS, ENTRIES = 4, 6


class Line(Network):
    """Emotions and concepts that are linear in the inputs; every pass in training mode is kept."""

    def __init__(self, emotions=2, concepts=1, dropout=0.0) -> None:
        super().__init__(emotions, concepts, 1.0)
        self.norm = nn.BatchNorm1d(ENTRIES, affine=False)
        self.dropout = nn.Dropout(dropout)
        self.emotions, self.concepts = nn.Linear(ENTRIES, emotions), nn.Linear(ENTRIES, concepts)
        self.seen: list[Tensor] = []
        self.modes: list[bool] = []

    def forward(self, excerpts: Tensor) -> Prediction:
        self.modes.append(self.training)
        if self.training:
            self.seen.append(excerpts.detach().clone())
        features = self.dropout(self.norm(excerpts.flatten(1)))
        return Prediction(self.emotions(features), self.concepts(features))


@pytest.fixture(autouse=True)
def _same_random_numbers():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def batch():
    return Batch(
        tuple("abcd"),
        torch.randn(CLIPS, 1, 2, 3),
        torch.rand(CLIPS, 2),
        torch.rand(CLIPS, 1),
    )


def trainee(weight=0.5, rate=0.0, dropout=0.0, **settings):
    """A network in training that an update with rate 0 leaves as it is."""
    network = Line(dropout=dropout).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    return Trainee(
        network, optimizer, lambda prediction, batch: loop._loss(prediction, batch, weight), **settings
    )


def plain_update(run, batch):
    return run.step(lambda: run.loss(run.predict(batch.inputs), batch))


def method(name, **settings):
    return build(RobustConfig(method=name, **settings))


def attacked(run, batch):
    """The perturbation that the last update of a run saw."""
    return run.network.seen[-1] - batch.inputs


def slope(run, batch, weight):
    """The gradient of the loss in evaluation mode with respect to the inputs."""
    network = copy.deepcopy(run.network).eval()
    inputs = batch.inputs.clone().requires_grad_()
    return torch.autograd.grad(loop._loss(network(inputs), batch, weight), inputs)[0]


def test_noise_has_the_stated_deviation_and_is_new_in_every_update(batch):
    run, noise = trainee(), method("noise", sigma=0.5)
    drawn = []
    for _ in range(200):
        noise.update(run, batch)
        drawn.append(attacked(run, batch))
    values = torch.stack(drawn)
    assert float(values.std()) == pytest.approx(0.5, rel=0.05)
    assert float(values.mean()) == pytest.approx(0, abs=0.03)
    assert not torch.equal(values[0], values[1])


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_leaves_its_budget_or_the_values_an_input_can_have(name, batch):
    lowest = float(batch.inputs.min()) - 0.01
    run, attack = trainee(valid_range=(lowest, torch.inf)), method(name, epsilon=0.1)
    for _ in range(3):
        attack.update(run, batch)
    for inputs in run.network.seen:
        assert (inputs - batch.inputs).abs().max() <= 0.1 + 1e-6
        assert inputs.min() >= lowest - 1e-6
    assert attacked(run, batch).abs().max() > 0.05


@pytest.mark.parametrize("weight", [1.0, 0.5, 0.0])
def test_pgd_reaches_the_worst_corner_for_the_loss_of_the_run(weight, batch):
    """Concepts count as much as they do in the loss: with weight 0 they alone are attacked."""
    run = trainee(weight)
    method("pgd", epsilon=1e-3, steps=5).update(run, batch)
    expected = 1e-3 * slope(run, batch, weight).sign()
    torch.testing.assert_close(attacked(run, batch), expected, atol=1e-6, rtol=0)


def test_one_step_of_fast_from_a_random_start_ends_on_the_side_of_the_gradient(batch):
    run = trainee()
    method("fast", epsilon=1e-3).update(run, batch)
    along = attacked(run, batch) * slope(run, batch, 0.5).sign()
    assert (along >= 0.25e-3 - 1e-6).all()  # from the opposite corner one step of 1.25 epsilon
    assert float(along.min()) < 0.9e-3  # a random start, not the corner itself


def test_a_step_of_free_uses_the_gradient_of_the_update_before_and_continues_in_the_next_batch(batch):
    run, free = trainee(), method("free", epsilon=0.1, step_size=0.03, replays=3)
    free.update(run, batch)
    deltas = [inputs - batch.inputs for inputs in run.network.seen]
    assert not deltas[0].any()
    assert len(deltas) == 3
    for before, after in itertools.pairwise(deltas):
        assert ((after - before).abs() - 0.03).abs().max() < 1e-6
    other = dataclasses.replace(batch, inputs=batch.inputs + 1)
    free.update(run, other)
    first = run.network.seen[3] - other.inputs
    assert ((first - deltas[2]).abs() - 0.03).abs().max() < 1e-6
    assert not method("free")._delta


def test_free_updates_the_weights_in_every_replay(batch):
    run = trainee(rate=0.1)
    before = run.network.emotions.weight.clone()
    losses = []
    step = run.step

    def recorded(loss):
        losses.append(step(loss))
        return losses[-1]

    run.step = recorded
    mean = method("free", replays=4).update(run, batch)
    assert len(losses) == 4
    assert float(mean) == pytest.approx(float(sum(losses)) / 4)
    assert not torch.equal(before, run.network.emotions.weight)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_trades_weighs_the_change_of_the_prediction_and_that_of_dropout_is_none(dropout, batch):
    weights = (1.0, 2.0, 10.0)
    losses = []
    for weight in weights:
        torch.manual_seed(1)
        run = trainee(dropout=dropout)
        losses.append(float(method("trades", epsilon=0.1, weight=weight).update(run, batch)))
    assert torch.equal(run.network.seen[-2], batch.inputs)
    change = losses[1] - losses[0]
    assert losses[2] - losses[0] == pytest.approx(9 * change, rel=1e-4)
    assert 0 < change < 0.05  # other channels dropped would change predictions by far more


def test_trades_with_weight_0_is_plain_training(batch):
    states = []
    for update in (plain_update, method("trades", weight=0).update):
        torch.manual_seed(1)
        run = trainee(rate=0.1, dropout=0.5)
        update(run, batch)
        states.append(run.network.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_trades_finds_a_larger_change_than_noise_of_its_size(batch):
    run = trainee()
    method("trades", epsilon=0.1).update(run, batch)
    network = copy.deepcopy(run.network).eval().requires_grad_(False)
    noise = 0.1 * (2 * torch.rand_like(batch.inputs) - 1)
    changes = [
        float((network(batch.inputs + delta).emotions - network(batch.inputs).emotions).square().mean())
        for delta in (attacked(run, batch), noise)
    ]
    assert changes[0] > 2 * changes[1]


PASSES = {"noise": 1, "pgd": 1, "fast": 1, "free": 4, "trades": 2}
"""Passes in training mode for one batch, the only ones that may move running statistics."""


@pytest.mark.parametrize("name", PASSES)
def test_an_attack_sees_the_network_in_evaluation_mode_and_moves_no_statistics(name, batch):
    run = trainee()
    method(name).update(run, batch)
    assert run.network.training
    assert int(run.network.norm.num_batches_tracked) == len(run.network.seen) == PASSES[name]
    assert all(run.network.modes)  # of the network itself; a frozen copy was attacked
    assert all(parameter.requires_grad for parameter in run.network.parameters())


@pytest.mark.parametrize("name", PASSES)
def test_the_same_random_numbers_give_the_same_update(name, batch):
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        run = trainee(rate=0.1, dropout=0.5)
        method(name).update(run, batch)
        weights.append(run.network.emotions.weight)
    assert torch.equal(*weights)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("settings", [{"db": 20}, {"domain": "waveform", "epsilon": 0.01}], ids=str)
def test_waveforms_have_budgets_of_their_own(name, settings, batch):
    """Without a front end here: a network of the tests takes any inputs."""
    run, attack = trainee(), method(name, **settings)
    waves = dataclasses.replace(batch, inputs=batch.inputs.flatten(1))
    attack.update(run, waves)
    delta = attacked(run, waves)
    if "db" in settings:
        ratio = delta.norm(dim=1) / waves.inputs.norm(dim=1)
        assert ratio.max() <= 0.1 * (1 + 1e-5)
        assert ratio.max() > 0.05
    else:
        assert 0.005 < delta.abs().max() <= 0.01 + 1e-6


def test_a_silent_clip_has_no_signal_to_noise_ratio(batch):
    inputs = batch.inputs.flatten(1).clone()
    inputs[1] = 0
    with pytest.raises(AttackError, match="waveform of clip b is silent"):
        method("fast", db=40).update(trainee(), dataclasses.replace(batch, inputs=inputs))


class Bands(Network):
    """The mean level of every band, linear to eight emotions: its worst error is known in closed form."""

    def __init__(self) -> None:
        super().__init__(8, 1, 1.0)
        self.norm, self.head = nn.BatchNorm1d(149, affine=False), nn.Linear(149, 8)

    def forward(self, excerpts: Tensor) -> Prediction:
        return Prediction(self.head(self.norm(excerpts.mean(dim=(1, 2)))))

    @torch.no_grad()
    def worst_error(self, clips, epsilon):
        """Mean absolute error under the worst perturbation of each emotion, in evaluation mode."""
        weights = self.head.weight / (self.norm.running_var + self.norm.eps).sqrt()
        error = (self.eval()(clips.inputs).emotions - clips.labels).abs()
        return float((error + epsilon * weights.abs().sum(dim=1)).mean())


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """Excerpts of a small synthetic corpus."""
    root = tmp_path_factory.mktemp("music")
    corpus = Synthetic(synthesize(root / "corpus", clips=12, seconds=10.5, workers=1))
    prepared = prepare(corpus, root / "cache", workers=1)
    spectrograms = torch.stack([torch.from_numpy(clip[:313].copy()) for clip in prepared.spectrograms])
    labels = torch.from_numpy(prepared.index.labels).float()
    inputs = (spectrograms - spectrograms.mean()) / spectrograms.std()
    return Batch(prepared.index.clips, inputs[:, None], labels, None)


PLAIN_ERROR = 0.75
ROBUST_ERRORS = {"noise": 0.55, "pgd": 0.55, "fast": 0.62, "free": 0.35, "trades": 0.2}
"""Worst mean absolute error at 0.05 after 70 updates: plain training has more, a method less."""


def test_every_method_reaches_its_robust_error_on_the_synthetic_corpus(music):
    errors = {}
    for name in (None, *ROBUST_ERRORS):
        torch.manual_seed(0)
        network = Bands().train()
        optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
        run = Trainee(network, optimizer, lambda prediction, batch: loop._loss(prediction, batch, 1.0))
        settings = {"sigma": 3.0} if name == "noise" else {"epsilon": 0.05}  # a mean hides little noise
        attack = None if name is None else method(name, **settings)
        for _ in range(70):
            if attack is None:
                plain_update(run, music)
            else:
                attack.update(run, music)
        errors[name] = network.worst_error(music, 0.05)
    plain = errors.pop(None)
    assert plain > PLAIN_ERROR
    assert all(error < ROBUST_ERRORS[name] for name, error in errors.items()), errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "fats"}, "Unknown training method 'fats'. Did you mean fast"),
        (
            {"method": "noise", "epsilon": 0.1},
            "noise has no setting `epsilon`. Its settings: `domain`, `sigma`.",
        ),
        ({"method": "fast", "replays": 2}, "fast has no setting `replays`"),
        ({"method": "pgd", "epsilon": 0.1, "db": 40}, "`epsilon` and `db` are two budgets. Leave one"),
        ({"method": "pgd", "domain": "waveform"}, "Waveforms need a budget: give `db=40`"),
        ({"method": "noise", "domain": "waveform"}, "give `sigma=0.01`"),
    ],
)
def test_settings_that_a_method_cannot_have_are_refused(settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        build(RobustConfig(**settings))


def test_a_method_with_a_field_that_no_configuration_has_is_refused(monkeypatch):
    @dataclasses.dataclass(kw_only=True)
    class Mine(Method):
        temperature: float = 1.0

        def update(self, trainee, batch):
            raise AssertionError

    monkeypatch.setattr(METHODS, "_parts", {**METHODS._parts, "mine": Mine})
    with pytest.raises(ConfigError, match="mine: its field `temperature` is no setting of robust training"):
        complete_settings(RobustConfig(method="mine"))


@pytest.mark.parametrize("name", METHODS)
def test_defaults_of_a_method_are_part_of_its_configuration(name):
    whole = complete_settings(RobustConfig(method=name))
    assert complete_settings(whole) == whole
    assert (whole.sigma, whole.epsilon) == ((0.25, None) if name == "noise" else (None, 0.05))
    if name != "noise":
        assert complete_settings(RobustConfig(method=name, db=30)).domain == "waveform"


@pytest.mark.parametrize("name", [name for name in presets() if read_preset(name)["train"].get("robust")])
def test_a_preset_of_a_method_trains_with_it(name):
    robust = RunConfig.parse(read_preset(name), name).train.robust
    assert robust is not None
    assert name == f"robust-{robust.method}"
    assert build(robust)
