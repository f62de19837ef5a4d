"""`tenuto adopt`, and every command on the run it makes.

Longer than other files: most tests start from one adopted run, which is made once.
"""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import tenuto
from tenuto.api.datasets import data_config
from tenuto.attacks import FGSM, Linf
from tenuto.config import DataConfig, FolderConfig
from tenuto.errors import CheckpointError, ConfigError
from tenuto.store.run import RunFolder
from tests import corpora, foreign_models

CODE = Path(foreign_models.__file__)
WINDOW = ("--sample-rate", foreign_models.RATE, "--seconds", foreign_models.SECONDS)
COLUMNS = "emotions: [arousal, joy]\nratings: table.csv\nid_column: song\nscale: [1, 7]\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory, tenuto, few_steps):
    """A folder with rated recordings, a user's model, and nothing else; a function that runs a command there."""
    root = tmp_path_factory.mktemp("newcomer")
    corpora.folder(root / "music", 30)
    (root / "music" / "tenuto.yaml").write_text(COLUMNS)
    shutil.copy(CODE, root / "model.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr("os.cpu_count", lambda: 1)  # threads that wait for each other cost as much as the work

        def call(*arguments, state="state"):
            return tenuto(*arguments, XDG_STATE_HOME=str(root / state), TENUTO_CACHE=str(root / "cache"))

        yield call


OUTPUTS = ("--emotions", "arousal,joy", "--root", "music", "--split", "random")


def adopted(home, name, *options, file="model.py"):
    """The folder of an adopted function, of `tests.foreign_models` unless another file is named."""
    outcome = home("adopt", f"{file}:{name}", *OUTPUTS, *options)
    assert outcome.exit_code == 0, outcome.output
    return Path(outcome.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def run(home):
    return adopted(home, "waveform", "--scale", -1, 1, "--threads", 1, *WINDOW)


@pytest.fixture(scope="module")
def black_box(home):
    return adopted(home, "descriptors", "--scale", -1, 1, *WINDOW)


def sentence(outcome):
    """The one sentence of a refusal."""
    assert outcome.exit_code == 2, outcome.output
    return outcome.stderr.splitlines()[-1]


def test_the_configuration_says_what_was_adopted(run):
    content = yaml.safe_load((run / "config.yaml").read_text())
    config = content["adopted"]
    assert content["train"]["threads"] == 1
    assert config["source"].endswith("model.py:waveform")
    assert (config["scale"], config["sample_rate"], config["differentiable"]) == ([-1.0, 1.0], 8000, True)
    assert len(config["source_sha256"]) == len(config["weights_sha256"]) == 64


@pytest.mark.parametrize("kind", ["run", "black_box"])
def test_every_command_works_on_an_adopted_run(home, kind, request):
    run, song = request.getfixturevalue(kind), "music/disc 1/song 1.flac"
    evaluated = json.loads(home("evaluate", run, "--root", "music", "--json").stdout)
    assert evaluated["system"] in ("waveform", "descriptors")
    profile = json.loads(home("predict", run, song, "--json").stdout)[song]
    assert set(profile["emotions"]) == {"arousal", "joy"}
    explained = home("explain", run, song, "--root", "music")
    assert "has no concepts" in explained.stdout
    attacked = home("attack", run, "--root", "music", "--no-natural")
    assert attacked.exit_code == 0, attacked.output
    rows = RunFolder(run).read_rows("standard-1")
    families = {name.split()[0] for name in rows["attack"]}
    assert families == ({"Square", "Noise"} if kind == "black_box" else {"APGD", "Square", "Noise"})
    assert ("leaves out APGD (4 attacks): the model has no gradient" in attacked.stderr) == (
        kind == "black_box"
    )
    natural = json.loads(home("natural", run, "--root", "music", "--json").stdout)
    assert {"mp3 128 kb/s", "6 dB up", "noise 20 dB"} <= {change["change"] for change in natural["changes"]}
    assert home("curve", run, "--out", "curve").exit_code == 0
    assert home("stats", run, "--epsilon", 0.1).exit_code == 0
    shown = home("show", run, "--root", "music", "--epsilon", 0.2, "--json")
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["survival"]["clips"] >= 1
    audited = home("audit", run, "--root", "music", "--clips", 2, "--json")
    assert audited.exit_code in (0, 1), audited.output
    report = home("report", run, "--epsilon", 0.1, "--root", "music", "--out", "report.html")
    assert report.exit_code == 0, report.output


def test_an_attack_that_needs_a_gradient_is_refused(home, black_box):
    refusal = sentence(home("attack", black_box, "--root", "music", "--attack", "APGD", "--epsilon", 0.1))
    assert "APGD follows a gradient, but the model has no gradient" in refusal


def test_the_advice_of_a_refused_export_can_be_followed(home, run, black_box):
    export = ("--to", "hub-folder", "--out", "exported")
    assert "Export it as onnx or torchscript." in sentence(home("export", run, *export))
    assert "it cannot be exported" in sentence(home("export", black_box, *export))
    assert "cannot be converted" in sentence(home("export", black_box, "--to", "onnx", "--out", "a.onnx"))


def test_a_normalisation_that_was_given_is_not_judged(home):
    options = ("--takes", "log-spectrogram", "--concepts", "mode", "--normalisation", 2, 3, "--name", "own")
    run = adopted(home, "spectrogram", *options)
    home("attack", run, "--root", "music", "--attack", "FGSM", "--epsilon", 0.1, "--no-natural")
    findings = json.loads(home("audit", run, "--json").stdout)["findings"]
    (finding,) = (finding for finding in findings if finding["check"] == "normalisation")
    assert finding["verdict"] == "NOT RECORDED"
    assert "was adopted with mean 2 and deviation 3" in finding["sentence"]


def test_features_are_attacked_but_not_played(home):
    run = adopted(home, "bands", "--takes", "features", "--front-end", "model.py:spectrum", *WINDOW)
    attack = ("attack", run, "--root", "music", "--attack", "FGSM", "--epsilon", 1, "--no-natural")
    assert home(*attack).exit_code == 0
    assert "cannot be turned into sound" in sentence(home("show", run, "--root", "music"))
    part = ("--seconds", 0.1, 0.2)
    recorded = ("attack", run, "music/disc 1/song 1.flac", "--attack", "FGSM", "--epsilon", 1)
    attributed = ("attribute", run, "disc 1/song 1", "--root", "music", "--epsilon", 1)
    for command in (attack, recorded, attributed):
        assert "neither. Leave --seconds and --bands out." in sentence(home(*command, *part))


def test_shares_of_features_have_rows_and_columns_since_their_axes_are_not_known(home, tmp_path):
    run = adopted(home, "bands", "--takes", "features", "--front-end", "model.py:spectrum", *WINDOW)
    attribute = ("attribute", run, "disc 1/song 1", "--root", "music", "--plot", tmp_path / "shares.png")
    outcome = home(*attribute)
    assert outcome.exit_code == 0, outcome.output
    headings = outcome.stdout.splitlines()[2]
    assert "rows" in headings
    assert "columns" in headings
    assert "seconds" not in outcome.stdout
    assert (tmp_path / "shares.png").is_file()


def test_concepts_are_predicted_and_explained_as_far_as_possible(home):
    options = ("--takes", "log-spectrogram", "--concepts", "mode", "--scale", -1, 1)
    run = adopted(home, "spectrogram", *options)
    explained = json.loads(home("explain", run, "music/disc 1/song 1.flac", "--json").stdout)
    assert set(explained["concepts"]) == {"mode"}
    assert explained["effects"] is None


def test_code_that_was_not_named_on_this_machine_is_not_executed(home, run, tmp_path):
    command = ("predict", run, "music/disc 1/song 1.flac")
    assert "is not trusted on this machine" in sentence(home(*command, state="stranger"))
    assert home(*command, "--trust", state="stranger").exit_code == 0
    assert home(*command, state="stranger").exit_code == 0


def test_changed_code_is_refused(home):
    Path("changing.py").write_text(CODE.read_text())
    run = adopted(home, "waveform", *WINDOW, file="changing.py")
    Path("changing.py").write_text(CODE.read_text() + "\n# changed\n")
    refusal = sentence(home("predict", run, "music/disc 1/song 1.flac"))
    assert re.search(r"changing\.py:waveform: has changed since waveform-0-\w+ was adopted", refusal)


def test_code_that_gives_other_weights_every_time_is_refused(home):
    Path("random.py").write_text(
        CODE.read_text()
        + "\n\nclass Chance(WaveformCNN):\n    def __init__(self):\n        super().__init__()\n"
        "        nn.init.normal_(self.head.weight, generator=torch.Generator().manual_seed(torch.seed() % 2**32))\n"
    )
    assert "gives other weights every time" in sentence(home("adopt", "random.py:Chance", *OUTPUTS, *WINDOW))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--emotions", "happy,sad"), "share|the model predicts happy, sad; the data set rates arousal, joy"),
        (("--emotions", "arousal"), "has 2 outputs"),
        (("--emotions", "arousal,arousal"), "the output arousal is named twice"),
        (("--emotions", "arousal,joy", "--scale", 1, -1), "the lower end must be below the upper end"),
        (("--emotions", "arousal,joy", "--takes", "features"), "front_end"),
        (("--emotions", "arousal,joy", "--name", "A2E"), "none of A2E"),
        (("--emotions", "arousal,joy", "--seconds", 3000), "seconds: must be"),
    ],
)
def test_what_cannot_be_adopted_is_refused_in_one_sentence(home, options, message):
    outcome = home("adopt", "model.py:waveform", "--root", "music", "--split", "random", *WINDOW, *options)
    assert re.search(message, sentence(outcome))


def test_a_model_that_is_not_there_is_missed_before_data_are_prepared(home, tmp_path):
    place = ("--cache", tmp_path / "cache")
    assert "nofile.py" in sentence(home("adopt", "nofile.py:net", *OUTPUTS, *WINDOW, *place))
    assert not (tmp_path / "cache").exists()


def test_a_run_is_judged_on_other_data(home, run):
    shutil.copytree("music", "other", dirs_exist_ok=True)
    Path("other/tenuto.yaml").write_text(
        COLUMNS.replace("[arousal, joy]", "[joy, arousal]").replace("[1, 7]", "[0, 7]")
    )
    table = Path("other/table.csv")
    table.write_text(table.read_text().rsplit("\n", 2)[0] + "\n")  # a clip less
    outcome = home("evaluate", run, "--data", "folder", "--root", "other")
    assert outcome.exit_code == 0, outcome.output
    assert (
        "predictions are converted from -1 to 1 to the scale of the labels, 0 to 1 (ratings 0 to 7 are labels 0 to 1)."
        in outcome.stderr
    )
    (folder,) = (run / "on").iterdir()
    assert re.fullmatch(r"folder-[0-9a-f]{8}", folder.name)
    here = home("attack", run, "--data", "folder", "--root", "other", "--attack", "FGSM", "--epsilon", 0.1)
    assert here.exit_code == 0, here.output
    (path,) = (path for path in (folder / "attacks").glob("FGSM*.csv"))
    rows = RunFolder(folder).read_rows(path.stem)
    assert set(rows["run"]) == {f"{run.name}@{folder.name}"}
    assert [name for name in map(str, rows) if name.startswith("label_")] == ["label_joy", "label_arousal"]
    one = home(
        "universal", run, "--data", "folder", "--root", "other", "--epsilon", 0.1, "--epochs", 1, "--json"
    )
    assert json.loads(one.stdout)["run"] == f"{run.name}@{folder.name}"
    assert home("stats", folder).exit_code == 0
    for shown in ((folder,), (run, "--data", "folder")):
        assert home("show", *shown, "--root", "other").exit_code == 0
    assert "holds results on data" in sentence(home("evaluate", folder, "--root", "music"))


def test_few_other_data_are_refused_with_what_can_be_done_and_remarked_on(home, run):
    shutil.copytree("music", "few", dirs_exist_ok=True)
    Path("few/tenuto.yaml").write_text(COLUMNS)
    table = Path("few/table.csv")
    header, *lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join([header, *lines[:6]]))
    refusal = sentence(home("evaluate", run, "--data", "folder", "--root", "few"))
    assert "6 clips cannot be split" in refusal
    assert "--split" not in refusal
    table.write_text("".join([header, *lines[:12]]))
    outcome = home("evaluate", run, "--data", "folder", "--root", "few")
    assert "R2 is not defined on these test clips" in " ".join(outcome.stderr.split())


def test_a_function_with_parameters_that_builds_the_model_is_named_as_one(home):
    Path("built.py").write_text(CODE.read_text() + "\n\ndef network(path):\n    return WaveformCNN()\n")
    refusal = sentence(home("adopt", "built.py:network", *OUTPUTS, *WINDOW))
    assert "has a parameter that must be given and returns a model (WaveformCNN)" in refusal


@pytest.fixture(scope="module")
def attacked(home):
    """Another adopted run, with the rows of one attack."""
    run = adopted(home, "waveform", "--scale", -1, 1, "--name", "attacked", *WINDOW)
    home("attack", run, "--root", "music", "--attack", "FGSM", "--epsilon", 0.1, "--no-natural")
    return run


@pytest.mark.parametrize("command", ["audit", "report", "intervene"])
def test_every_command_that_executes_the_model_can_be_told_to_trust_it(home, attacked, command):
    """`report` needs its gradient only for clips, and names the run it cannot open."""
    run, (rows,) = attacked, (attacked / "attacks").glob("FGSM*.csv")
    only = ("--protocol", rows.stem, "--out", f"{command}.html") if command == "report" else ()
    call = (command, run, "--root", "music", *only, *(("--clips", 1) if command != "intervene" else ()))
    mark, state = "is not trusted on this machine", f"stranger to {command}"
    assert mark in home(*call, state=state).output
    assert mark not in home(*call, "--trust", state=state).output


def test_code_that_has_moved_is_found_where_it_is_named_once(home):
    Path("old.py").write_text(CODE.read_text() + "\n# moves\n")
    run = adopted(home, "waveform", *WINDOW, file="old.py")
    Path("old.py").rename("new.py")
    predict = ("predict", run, "music/disc 1/song 1.flac")
    assert f"tenuto evaluate {run} --model NEW/PLACE.py:FUNCTION" in sentence(home(*predict))
    assert home("evaluate", run, "--root", "music", "--model", "new.py:waveform").exit_code == 0
    assert home(*predict).exit_code == 0
    Path("new.py").write_text(CODE.read_text())
    assert "has changed" in sentence(home("evaluate", run, "--root", "music", "--model", "new.py:waveform"))


def test_naming_one_part_of_the_code_does_not_trust_the_other(home, tmp_path):
    Path("ends.py").write_text(
        "import numpy as np\n\n\ndef ends(wave):\n    return wave[:64].astype(np.float32)\n"
    )
    Path("net.py").write_text(
        f"from pathlib import Path\n\nimport torch\n\nPath({str(tmp_path / 'executed')!r}).touch()\n\n\n"
        "def network():\n    torch.manual_seed(0)\n    return torch.nn.Linear(64, 2)\n"
    )
    features = ("--takes", "features", "--front-end", "ends.py:ends", *WINDOW)
    run, mark = adopted(home, "network", *features, file="net.py"), tmp_path / "executed"
    mark.unlink()
    evaluate = ("evaluate", run, "--root", "music", "--front-end", "ends.py:ends")
    assert "net.py" in sentence(home(*evaluate, state="stranger to parts"))
    assert not mark.exists()
    assert home(*evaluate, "--model", "net.py:network", state="stranger to parts").exit_code == 0
    assert mark.exists()


def test_other_data_keep_one_split_and_name_clips_of_the_training(home, run):
    shutil.copytree("music", "again", dirs_exist_ok=True)
    table = Path("again/table.csv")
    table.write_text(table.read_text().rsplit("\n", 2)[0] + "\n")  # a clip less
    config = DataConfig(
        dataset="folder",
        folder=FolderConfig(
            ratings="table.csv", id_column="song", emotions=("arousal", "joy"), scale=(1.0, 7.0)
        ),
        split="random",
        split_seed=1,
    )
    cache = Path("cache")
    opened = tenuto.open_run(run, "again", data=config, cache=cache, trust=True)
    assert any("have names of clips that the model was trained on" in remark for remark in opened.remarks)
    song = "music/disc 1/song 1.flac"
    own = tenuto.open_run(run, "music", cache=cache, trust=True).explain(song)
    assert opened.explain(song).training_clips == own.training_clips == 24
    with pytest.raises(ConfigError, match="holds results on another split"):
        tenuto.open_run(
            run, "again", data=config.model_copy(update={"split_seed": 2}), cache=cache, trust=True
        )


def test_concepts_of_an_adopted_run_cannot_be_corrected(home, run):
    refusal = sentence(home("intervene", run, "--root", "music"))
    assert "the linear layers behind the features of this model are not known" in refusal


def test_adopted_and_trained_runs_in_one_folder_are_compared(home):
    """Networks that take the same spectrogram, of which one was trained here."""
    train = ("train", "--root", "music", "--split", "random", "--seed", 0, "--epochs", 1, "--runs", "both")
    trained = home(*train, "--width", 0.0625, "--threads", 1, "--batch-size", 4)
    assert trained.exit_code == 0, trained.output
    options = ("--takes", "log-spectrogram", "--concepts", "mode", "--scale", -1, 1, "--out", "both")
    for run in (Path(trained.stdout.splitlines()[-1]), adopted(home, "spectrogram", *options)):
        attack = home("attack", run, "--root", "music", "--protocol", "standard-1")
        assert attack.exit_code == 0, attack.output
    for command in (("curve", "both", "--out", "curves"), ("stats", "both", "--epsilon", 0.1)):
        outcome = home(*command)
        assert outcome.exit_code == 0, outcome.output
        assert {"A2E", "spectrogram"} <= set(re.findall(r"\w+", outcome.stdout))
    report = home("report", "both", "--root", "music", "--epsilon", 0.1, "--clips", 1, "--out", "both.html")
    assert report.exit_code == 0, report.output
    assert {"A2E", "spectrogram"} <= set(re.findall(r"\w+", Path("both.html").read_text()))


@pytest.mark.parametrize(("name", "emotions"), [("one_output", "joy"), ("waveform", "arousal,joy")])
def test_few_outputs_are_attacked_to_effect(home, name, emotions):
    """A measure across outputs would leave such models as they are."""
    run = adopted(home, name, "--emotions", emotions, "--scale", -1, 1, "--name", f"few_{name}", *WINDOW)
    attack = ("attack", run, "--root", "music", "--no-natural", "--attack", "APGD", "--epsilon", 0.1)
    for aim in ((), ("--objective", "joy+")):
        outcome = home(*attack, "--setting", "steps=2", *aim)
        assert outcome.exit_code == 0, outcome.output
        protocol = Path(outcome.stdout.splitlines()[-1]).stem
        rows = RunFolder(run).read_rows(protocol)
        moved = sum((rows[f"adversarial_{one}"] - rows[f"clean_{one}"]).abs() for one in emotions.split(","))
        assert (moved > 0.01).all()
    assert "correlation" in sentence(home(*attack, "--objective", "correlation"))


def test_the_report_on_an_object_names_how_python_audits_it(home):
    network = foreign_models.waveform()
    window = {"sample_rate": foreign_models.RATE, "seconds": foreign_models.SECONDS}
    data, cache = data_config("music", split="random"), "cache"
    run = tenuto.adopt(
        network, emotions="arousal,joy", root="music", data=data, cache=cache, name="object", **window
    )
    run.attack(FGSM(Linf(0.1)))
    page = html.unescape(
        tenuto.report(run.folder, out="object.html", root="music", cache=cache).path.read_text("utf-8")
    )
    assert "tenuto audit STUDY" not in page
    assert "run.audit()" in page
    assert "takes waveform, which Tenuto does not normalise" in page


UNUSUAL = """
import torch
from torch import nn


class Unusual(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        angles = torch.outer(torch.arange(64), torch.arange(16)) * (2j * torch.pi / 64)
        self.register_buffer("fourier", torch.exp(-angles))
        self.register_buffer("bank", torch.eye(16).to_sparse())
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 2)

    def forward(self, waveform):
        frames = waveform[:, :3968].unflatten(1, (62, 64)).to(self.fourier.dtype)
        levels = torch.log1p((frames @ self.fourier).abs() + 1e-3)
        with torch.enable_grad():  # a step of gradient descent inside, as models of energy take
            point = levels.detach().requires_grad_()
            step = torch.autograd.grad(point.square().sum(), point)[0]
        features = (levels - 0.1 * step) @ self.bank.to_dense()
        attended = self.attention(features, features, features, need_weights=False)[0]
        return torch.tanh(self.head(torch.relu(attended).mean(1)))


def network():
    return Unusual()
"""


def test_complex_and_sparse_weights_attention_and_gradients_inside_are_no_obstacle(home):
    Path("unusual.py").write_text(UNUSUAL)
    run = adopted(home, "network", "--scale", -1, 1, *WINDOW, file="unusual.py")
    song, attack = "music/disc 1/song 1.flac", ("--attack", "FGSM", "--epsilon", 0.01, "--no-natural")
    for command in (
        ("evaluate", run, "--root", "music"),
        ("attack", run, "--root", "music", *attack),
        ("explain", run, song, "--root", "music"),
        ("attribute", run, "disc 1/song 5", "--root", "music", "--epsilon", 0.01, "--steps", 1),
    ):
        outcome = home(*command)
        assert outcome.exit_code == 0, outcome.output


def test_a_model_that_fails_at_silence_has_no_attribution_and_that_is_said(home):
    Path("level.py").write_text(
        "import torch\n\n\nclass Level(torch.nn.Module):\n    def forward(self, waveform):\n"
        "        level = waveform.square().mean(1).sqrt()\n        return torch.stack([level / level, level], 1)\n"
        "\n\ndef network():\n    return Level()\n"
    )
    run = adopted(home, "network", *WINDOW, file="level.py")
    refusal = sentence(home("attribute", run, "disc 1/song 5", "--root", "music"))
    assert "1 of 4 predictions are not finite" in refusal
    assert "the clip and the baseline, which is 0 everywhere" in refusal


def test_why_a_gradient_fails_is_said(home):
    Path("broken.py").write_text(
        "import torch\n\n\nclass Broken(torch.nn.Module):\n    def forward(self, waveform):\n"
        "        levels = waveform[:, :2].exp()\n        level = levels.square()\n        levels.mul_(2)\n"
        "        return level\n\n\ndef network():\n    return Broken()\n"
    )
    outcome = home("adopt", "broken.py:network", *OUTPUTS, *WINDOW)
    assert outcome.exit_code == 0, outcome.output
    assert "Its gradient fails (RuntimeError: one of the variables needed for gradient" in outcome.output


def test_one_call_opens_a_run_of_an_object(home):
    network = foreign_models.waveform()
    window = {"sample_rate": foreign_models.RATE, "seconds": foreign_models.SECONDS}
    data = data_config("music", split="random")
    run = tenuto.adopt(
        network, emotions="arousal,joy", root="music", data=data, cache="cache", name="calls", **window
    )
    folder, clip = run.folder, run.material.split.test[0]
    own = run.attack(FGSM(Linf(0.1)))
    opening: dict[str, Any] = {"root": "music", "cache": "cache", "model": network}
    pd.testing.assert_frame_equal(tenuto.attack(folder, FGSM(Linf(0.1)), **opening), own)
    assert tenuto.attribute(folder, clip, method="occlusion", **opening).source == clip
    assert tenuto.universal(folder, Linf(0.1), epochs=1, out="one", **opening).run == run.name
    assert tenuto.certify(folder, sigma=0.1, draws=60, clips=1, **opening).rows["clip"].nunique() == 1
    with pytest.raises(CheckpointError, match="model"):
        tenuto.attack(folder, FGSM(Linf(0.1)), root="music", cache="cache")
