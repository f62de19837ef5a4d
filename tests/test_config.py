"""Configurations: complete, strict, hashed whole."""

from __future__ import annotations

import math
import re

import pytest

from tenuto.config import (
    SYSTEMS,
    Config,
    RunConfig,
    StudyConfig,
    System,
    merge,
    parse_yaml,
    preset_run,
    presets,
    read_preset,
    read_study,
    signature,
    to_yaml,
)
from tenuto.errors import ConfigError, FileError


def test_presets_are_those_documented():
    methods = [f"robust-{name}" for name in ("fast", "free", "noise", "pgd", "trades")]
    assert presets() == ["demo", "paper-2025", "paper-2025-quick", "robust-2025-quick", *methods]


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


def test_the_robust_study_differs_from_the_quick_one_in_systems_seeds_and_protocol():
    quick, robust = read_study("paper-2025-quick"), read_study("robust-2025-quick")
    quick["run"]["train"].pop("adversarial")
    assert robust["run"] == quick["run"]
    assert set(quick["systems"][:3]) < set(robust["systems"])
    assert len(robust["seeds"]) >= 3
    assert robust["protocols"] == ["standard-1"]


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
        ({"data": {"dataset": "../deam"}}, "data.dataset: must be a name"),
        ({"model": {"network": 3}}, "model.network: must be a name"),
        ({"train": {"precision": "float16"}}, "train.precision"),
    ],
)
def test_wrong_settings_are_refused(content, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig.parse(content, "it.yaml")


def test_unknown_preset_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean paper-2025"):
        read_preset("paper-2052")


def test_preset_from_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("train: {epochs: 3}\n")
    assert read_preset(str(path)) == {"train": {"epochs": 3}}
    with pytest.raises(FileError, match=r"gone\.yaml"):
        read_preset(str(tmp_path / "gone.yaml"))


NUMBERS = [
    ("train", "seed", "a whole number from 0 to 4294967295"),
    ("train", "epochs", "a whole number from 1 to 1000000"),
    ("train", "patience", "a whole number from 1 to 1000000"),
    ("train", "batch_size", "a whole number from 2 to 1000000"),
    ("train", "threads", "a whole number from 0 to 1024"),
    ("train", "learning_rate", "a number greater than 0 and at most 100"),
    ("train", "task_loss_weight", "a number from 0 to 1"),
    ("data", "split_seed", "a whole number from 0 to 4294967295"),
    ("model", "width", "a number greater than 0 and at most 4"),
]


@pytest.mark.parametrize(
    "value", [True, math.inf, -math.inf, math.nan, -1, 10**22, "many", None, [1]], ids=repr
)
@pytest.mark.parametrize(("part", "name", "allowed"), NUMBERS, ids=[name for _, name, _ in NUMBERS])
def test_numbers_are_finite_bounded_and_no_booleans(part, name, allowed, value):
    with pytest.raises(ConfigError, match=re.escape(f"it.yaml: {part}.{name}: must be {allowed}")) as caught:
        RunConfig.parse({part: {name: value}}, "it.yaml")
    assert value is None or f"got {value!r}" in str(caught.value)


def test_every_number_of_every_configuration_has_bounds():
    """A field of type int or float without a check of `settings` takes ``true``, and inf."""
    configs = [*Config.__subclasses__()]
    assert len(configs) >= 8
    for config in configs:
        for name, field in config.model_fields.items():
            unchecked = field.annotation in (int, float, bool) and not field.metadata
            assert not unchecked, f"{config.__name__}.{name}"


def test_a_number_in_scientific_notation_is_one():
    assert parse_yaml("a: [5e-4, -2E3, '5e-4', 5e]", "it.yaml") == {"a": [0.0005, -2000.0, "5e-4", "5e"]}
    assert RunConfig.parse({"train": {"learning_rate": "5e-4"}}, "it.yaml").train.learning_rate == 0.0005


@pytest.mark.parametrize("seeds", [[True], [10**22], [1.0], ["1"], 1])
def test_seeds_of_a_study_are_whole_numbers(seeds):
    with pytest.raises(ConfigError, match="seeds"):
        StudyConfig.parse({"systems": ["A2E"], "seeds": seeds}, "it.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "not YAML"),
        ("- 1", "must be a mapping of settings, got [1]."),
        ("!!python/object/apply:os.system ['true']", "not YAML"),
        ("a: " + "[" * 2_000, "nested too deeply"),
        ("{a: " * 2_000, "nested too deeply"),
        ("a: 2001-99-99", "not YAML"),
        ("a: !!bool maybe", "not YAML"),
        ("a: " + "9" * 5000, "not YAML"),
        ("a: &a {b: *a}", "recursive"),
        ("a: &a [*a]", "recursive"),
        ("train: {seed: 1, seed: 2}", "the key seed is there twice"),
        ("seeds: [1]\nseeds: [2]", "the key seeds is there twice"),
        ("seeds: [021]", "021 is 17 in YAML: write the number that is meant"),
        ("seconds: 1:30", "1:30 is 90 in YAML"),
        ("seconds: 1:30.5", "1:30.5 is 90.5 in YAML"),
    ],
    ids=lambda text: text[:24],
)
def test_yaml_that_is_no_settings_is_refused_in_one_line(content, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        parse_yaml(content, "it.yaml")
    assert str(caught.value).startswith("it.yaml: ")
    assert "\n" not in str(caught.value)


def test_yaml_may_refer_to_what_it_said_before():
    content = "a: &a {seed: 1}\nb: {<<: *a, seed: 2}\nc: *a"
    assert parse_yaml(content, "it") == {"a": {"seed": 1}, "b": {"seed": 2}, "c": {"seed": 1}}


def test_yaml_that_multiplies_itself_is_refused():
    lines = ["a0: &a0 {" + ", ".join(f"k{number}: 1" for number in range(9)) + "}"]
    lines += [f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}" for level in range(1, 12)]
    with pytest.raises(ConfigError, match="merges more than 100000 keys"):
        parse_yaml("\n".join(lines), "it")
    repeated = "\n".join(f"k{number}: 1" for number in range(50_000))  # took minutes where it was quadratic
    assert len(parse_yaml(repeated, "it")) == 50_000


@pytest.mark.parametrize(
    "content", ["train: 5", "data: [1]", "run: 5\nseeds: [1]", "run: {model: x}\nseeds: [1]"]
)
def test_a_part_of_the_settings_that_is_no_mapping_is_refused_and_not_replaced(content, tmp_path):
    path = tmp_path / "it.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match="must be a mapping of settings, got"):
        preset_run(str(path), "A2E", 1)


OWN = {"systems": {"A2E": None, "mine": {"network": "a2m2e", "task_loss_weight": 0.3}}, "seeds": [1]}


def test_a_study_may_define_systems_of_its_own():
    study = StudyConfig.parse(OWN, "it.yaml")
    mine = System(network="a2m2e", task_loss_weight=0.3, adversarial=False)
    assert study.systems == {"A2E": SYSTEMS["A2E"], "mine": mine}
    assert StudyConfig.parse(parse_yaml(to_yaml(study), "x"), "x") == study
    assert StudyConfig.parse(study.model_dump(mode="json"), "x") == study


@pytest.mark.parametrize(
    ("systems", "message"),
    [
        ({"A2E": {"network": "a2m2e"}}, "system 'A2E' is one of the study's own, which take no settings"),
        ({"../mine": {"network": "a2e"}}, "cannot be defined: choose a name of letters"),
        ({"mine": {"netwrok": "a2e"}}, "unknown key systems.mine.netwrok"),
        (
            {"mine": {"network": "a2e", "task_loss_weight": 2}},
            "task_loss_weight: must be a number from 0 to 1",
        ),
        ({"mine": {"network": "a2e", "adversarial": 1}}, "systems.mine.adversarial"),
        ({"A2N2E": None}, "Did you mean A2M2E"),
        ({True: None}, "system True cannot be defined"),  # `yes` in YAML
        ({None: None}, "system None cannot be defined"),
        (
            {"mine": {"adopted": {"source": "a:b", "emotions": ["a"], "normalisation": [math.nan, 1]}}},
            "normalisation.0: must be a number from -1e+06 to 1e+06",
        ),
        (["A2N2E"], "Did you mean A2M2E"),
        (["aa2b2e"], "Did you mean aA2B2E"),
        ([], "systems"),
        ([{"mine": {"network": "a2e"}}], "must be a list of names"),
        ("A2E", "must be a list of names"),
    ],
)
def test_a_system_that_cannot_be_is_refused(systems, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        StudyConfig.parse({"systems": systems, "seeds": [1]}, "it.yaml")


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


@pytest.mark.parametrize(("fast", "expected"), [(True, "bfloat16"), (False, None)])
def test_auto_is_bfloat16_where_the_processor_has_it(monkeypatch, fast, expected):
    monkeypatch.setattr("tenuto.config.fast_bfloat16", lambda: fast)
    run = RunConfig.parse({"train": {"precision": "auto"}}, "x")
    assert run.resolved().train.precision == expected


def test_own_combinations_get_descriptive_names():
    content = {"model": {"network": "a2m2e"}, "train": {"task_loss_weight": 0.3, "adversarial": {}}}
    assert RunConfig.parse(content, "x").named().system == "aa2m2e_w0.3"


def test_merge_ignores_none_and_joins_mappings():
    assert merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": None}, "d": {"e": None}}) == {
        "a": {"b": 3, "c": 2},
        "d": {},
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": {"data": {"dataset": "folder", "concepts": "midlevel"}}}, "run.data: concepts midlevel are"),
        ({"seeds": None}, "seeds: must be a list."),
        ({"seeds": []}, "seeds: must not be empty, got []."),
        ({"protocols": "standard-1"}, "protocols: must be a list, got 'standard-1'."),
        ({"run": None}, "run: must be a mapping of settings."),
        ({"run": {"train": None}}, "run.train: must be a mapping of settings."),
        (
            {"run": {"data": {"folder": {"emotions": [5]}}}},
            "run.data.folder.emotions.0: must be a text, got 5.",
        ),
        ({"natural": False}, "natural: must be 'natural-1' or 'natural-2', got False."),
        ({"protocols": [{"settings": {}}]}, "protocols.0.protocol: must be given."),
    ],
)
def test_messages_do_not_show_the_validator(changes, message):
    with pytest.raises(ConfigError, match=re.escape(f"it.yaml: {message}")):
        StudyConfig.parse({"systems": ["A2E"], "seeds": [1], **changes}, "it.yaml")
