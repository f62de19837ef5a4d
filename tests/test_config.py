"""Configurations: complete, strict, hashed whole."""

from __future__ import annotations

import pytest

from tenuto.config import (
    SYSTEMS,
    DataConfig,
    FolderConfig,
    RunConfig,
    StudyConfig,
    merge,
    parse_yaml,
    preset_run,
    preset_study,
    presets,
    read_preset,
    signature,
    to_yaml,
)
from tenuto.errors import ConfigError, FileError


def test_presets_are_those_documented():
    assert presets() == ["demo", "paper-2025", "paper-2025-quick"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_paper_preset_is_the_study(system):
    run = preset_run("paper-2025", system, 6)
    assert (run.data.split, run.data.excerpts, run.data.normalisation) == ("paper", "fixed", "all")
    assert (run.train.learning_rate, run.train.batch_size, run.train.epochs, run.train.patience) == (
        5e-4,
        8,
        199,
        50,
    )
    assert run.train.drop_last_evaluated
    assert run.train.score_free_units
    assert run.model.width == 1
    assert run.train.task_loss_weight == (0.5 if system == "A2M2E" else 1.0)
    assert run.model.network == ("a2e" if system.endswith("A2E") else "a2m2e")
    if system.startswith("a"):
        attack = run.train.adversarial
        assert (attack.every, attack.iterations, attack.step_size) == (5, 50, 0.002)
        assert (attack.measure, attack.optimizer) == ("corr", "Adam")
    else:
        assert run.train.adversarial is None
    assert run.system == system


def test_demo_preset_is_a_study_of_five_systems_and_two_seeds():
    study = preset_study("demo")
    assert study.systems == tuple(SYSTEMS)
    assert len(study.seeds) == 2
    assert study.run.train.adversarial.iterations == 10


def test_a_wrong_key_is_named_before_what_is_missing():
    with pytest.raises(ConfigError, match=r"unknown key sytems. Did you mean systems\?"):
        StudyConfig.parse({"sytems": ["A2E"], "seeds": [1]}, "study")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"trian": {}}, "unknown key trian. Did you mean train"),
        ({"train": {"learning_rat": 1}}, "unknown key train.learning_rat. Did you mean learning_rate"),
        ({"train": {"adversarial": {"iteration": 1}}}, "Did you mean iterations"),
        ({"data": {"split": "papers"}}, "data.split"),
        ({"train": {"epochs": 0}}, "train.epochs"),
        ({"train": {"task_loss_weight": 1.5}}, "task_loss_weight"),
        ({"train": {"task_loss_weight": 0.5}}, "needs the network a2m2e"),
    ],
)
def test_wrong_settings_are_refused(content, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig.parse(content, "it.yaml")


def test_unknown_system_in_a_study():
    with pytest.raises(ConfigError, match="Did you mean A2M2E"):
        StudyConfig.parse({"systems": ["A2N2E"], "seeds": [1]}, "it.yaml")


def test_unknown_preset_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean paper-2025"):
        read_preset("paper-2052")


def test_preset_from_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("train: {epochs: 3}\n")
    assert read_preset(str(path)) == {"train": {"epochs": 3}}
    with pytest.raises(FileError, match=r"gone\.yaml"):
        read_preset(str(tmp_path / "gone.yaml"))


@pytest.mark.parametrize(
    "content",
    [
        "a: [",
        "- 1",
        "!!python/object/apply:os.system ['true']",
        "a: " + "[" * 20_000,
        "a: 2001-99-99",
        "a: " + "9" * 5000,
    ],
    ids=["cut", "list", "code", "deep", "impossible date", "long number"],
)
def test_yaml_that_is_no_mapping_or_would_execute(content):
    with pytest.raises(ConfigError, match=r"it\.yaml"):
        parse_yaml(content, "it.yaml")


def test_a_bad_setting_is_quoted_in_one_short_line():
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{after}: &{after} [{', '.join([f'*{name}'] * 9)}]\n"
        for name, after in zip("abcdefgh", "bcdefghi", strict=True)
    )
    for content in ('train: {epochs: "many\nlines"}', '"many\nlines": 1', f"{bomb}train: *i"):
        with pytest.raises(ConfigError) as error:
            RunConfig.parse(parse_yaml(content, "it.yaml"), "it.yaml")
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 300


def test_yaml_round_trip():
    run = preset_run("paper-2025", "aA2B2E", 21).resolved()
    assert RunConfig.parse(parse_yaml(to_yaml(run), "x"), "x") == run


def test_signature_covers_every_setting_and_the_data():
    run = preset_run("paper-2025", "aA2E", 6)
    seen = {signature(run, "data"), signature(run, "other data")}
    flat: list[dict[str, dict[str, object]]] = [
        {"data": {"split_seed": 1}},
        {"data": {"excerpts": "fresh"}},
        {"model": {"width": 0.5}},
        {"train": {"seed": 7}},
        {"train": {"threads": 3}},
        {"train": {"precision": "bfloat16"}},
        {"train": {"adversarial": {"iterations": 51}}},
        {"train": {"score_free_units": False}},
    ]
    for change in flat:
        seen.add(signature(RunConfig.parse(merge(run.model_dump(mode="json"), change), "x"), "data"))
    assert len(seen) == 2 + len(flat)


def test_resolved_fills_in_threads():
    assert RunConfig().resolved().train.threads >= 1


def test_float32_is_what_a_run_without_precision_computes_in():
    plain = RunConfig()
    named = RunConfig.parse({"train": {"precision": "float32"}}, "x")
    assert named == plain
    assert "precision" not in to_yaml(named)


@pytest.mark.parametrize(("there", "wanted"), [(True, "bfloat16"), (False, None)])
def test_auto_is_bfloat16_where_the_processor_has_it(monkeypatch, there, wanted):
    monkeypatch.setattr("tenuto.config.fast_bfloat16", lambda: there)
    run = RunConfig.parse({"train": {"precision": "auto"}}, "x")
    assert run.resolved().train.precision == wanted


def test_an_unknown_precision_is_refused():
    with pytest.raises(ConfigError, match=r"train\.precision"):
        RunConfig.parse({"train": {"precision": "float16"}}, "x")


def test_own_combinations_get_descriptive_names():
    content = {"model": {"network": "a2m2e"}, "train": {"task_loss_weight": 0.3, "adversarial": {}}}
    assert RunConfig.parse(content, "x").named().system == "aa2m2e_w0.3"


def test_merge_ignores_none_and_joins_mappings():
    assert merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": None}, "d": {"e": None}}) == {
        "a": {"b": 3, "c": 2},
        "d": {},
    }


def test_a_name_in_other_case_is_recognised():
    with pytest.raises(ConfigError, match="Did you mean aA2B2E"):
        preset_run(None, "aa2b2e", 1)


def test_messages_do_not_show_the_validator():
    with pytest.raises(ConfigError) as caught:
        RunConfig.parse({"train": {"task_loss_weight": 0.5}}, "it.yaml")
    assert "Value error" not in str(caught.value)


@pytest.mark.parametrize("dataset", ["soundtracks", "midlevel"])
def test_human_concepts_are_a_property_of_the_data_set_and_no_setting(dataset):
    asked = DataConfig.parse({"dataset": dataset, "concepts": "midlevel"}, "a test")
    assert asked == DataConfig(dataset="midlevel")


def test_human_concepts_change_nothing_where_they_are_known_already():
    assert DataConfig(dataset="synthetic", concepts="midlevel") == DataConfig(dataset="synthetic")


def test_the_default_data_set_with_human_concepts_is_midlevel():
    assert DataConfig.parse({"concepts": "midlevel"}, "a test").dataset == "midlevel"


def test_a_folder_has_no_human_concepts_but_columns():
    with pytest.raises(ConfigError, match=r"name the concept columns of your own table \(--concepts"):
        DataConfig.parse({"dataset": "folder", "concepts": "midlevel"}, "a test")


def test_signal_concepts_need_no_columns():
    table = FolderConfig(emotions=("joy",), concepts=("roughness",))
    bare = FolderConfig(emotions=("joy",))
    wanted = DataConfig(dataset="folder", concepts="signal", folder=bare)
    assert DataConfig(dataset="folder", concepts="signal", folder=table) == wanted
    content = {"dataset": "folder", "concepts": "signal", "folder": table.model_dump(mode="json")}
    assert DataConfig.parse(content, "a test") == wanted


@pytest.mark.parametrize("content", [{"concepts": "sginal"}, {"folder": {"concepts": ["sginal"]}}])
def test_an_unknown_source_of_concepts_is_answered_with_the_known(content):
    with pytest.raises(ConfigError, match=r"'?signal'?.* '?midlevel"):
        DataConfig.parse(content, "a test")


def test_signal_concepts_have_a_signature_of_their_own_and_leave_others_alone():
    plain, signal = RunConfig(), RunConfig(data=DataConfig(concepts="signal"))
    assert signature(signal, "data") != signature(plain, "data")
    assert "concepts" not in to_yaml(plain)
    assert RunConfig.parse(parse_yaml(to_yaml(signal), "a test"), "a test") == signal
