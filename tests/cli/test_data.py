"""`tenuto data ...` and `tenuto prepare`."""

import errno
import json
import os
import re
import socket

import pytest
import soundfile

from tenuto.data import DATASETS, remote, soundtracks
from tenuto.data.midlevel import CONCEPTS
from tests import corpora, short
from tests.cli.conftest import FOLDER
from tests.data.osf_server import NODE, OsfServer

REAL_FSYNC = os.fsync


@pytest.fixture
def own(tmp_path):
    root = tmp_path / "own"
    corpora.folder(root, clips=10)
    return root


def test_list_names_every_data_set(tenuto):
    lines = tenuto("data", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(DATASETS)
    cards = json.loads(tenuto("data", "list", "--json").stdout)
    assert {name: card["title"] for name, card in cards.items()} == {
        name: dataset.card.title for name, dataset in DATASETS.items()
    }


@pytest.mark.parametrize("name", DATASETS)
def test_info_shows_the_identity_card(tenuto, name):
    shown = tenuto("data", "info", name).stdout
    assert DATASETS[name].card.citation in shown
    assert re.search(r"emotion scale +\d to \d", shown)


def test_info_for_programs(tenuto):
    card = json.loads(tenuto("data", "info", "soundtracks", "--json").stdout)
    assert card["origin"] == "https://osf.io/p6vkg"
    assert card["emotion_scale"] == [1.0, 9.0]


def test_validate_passes_a_sound_folder(tenuto, own):
    outcome = tenuto("data", "validate", "folder", "--root", own, *FOLDER, "--cache", own / "cache")
    assert outcome.exit_code == 0
    names = ["disc 0/song 0.wav", "disc 0/song 2.ogg", "disc 0/song 4.flac"]
    assert outcome.stdout.splitlines() == [
        "warning: 10 of the recordings cannot be recognised in a changed copy, for lack of 2.5 s of changing sound: "
        f"{', '.join(names)} and 7 more.",
        "duplicates: none among 10 recordings",
        f"{own}: complete, every recording can be read",
    ]


def test_validate_lists_what_is_missing(tenuto, tmp_path):
    corpora.midlevel(tmp_path)
    (tmp_path / "Set1" / "007.mp3").unlink()
    outcome = tenuto("data", "validate", "midlevel", "--root", tmp_path)
    assert outcome.exit_code == 1
    assert "missing: Set1/007.mp3: does not exist" in outcome.stdout


def test_validate_lists_what_was_altered(tenuto, own):
    cut = own / "disc 1" / "song 1.flac"
    cut.write_bytes(cut.read_bytes()[:5000])
    outcome = tenuto("data", "validate", "folder", "--root", own, *FOLDER)
    assert outcome.exit_code == 1
    assert f"altered: {cut}: " in outcome.stdout
    assert outcome.stdout.endswith(f"{own}: 1 problem found\n")


def test_validate_for_programs(tenuto, own):
    report = json.loads(tenuto("data", "validate", "folder", "--root", own, *FOLDER, "--json").stdout)
    assert (len(report.pop("warnings")), len(report.pop("unrecognisable"))) == (1, 10)
    assert report == {
        "ok": True,
        "missing": [],
        "altered": [],
        "inconsistent": [],
        "recordings": 10,
        "duplicates": [],
        "unreadable": [],
        "label_order": [],
        "rater_deviations": {},
    }
    (own / "table.csv").write_text("song,arousal,joy,roughness,record\nghost,1,1,1,a\n")
    outcome = tenuto("data", "validate", "folder", "--root", own, *FOLDER, "--json")
    assert outcome.exit_code == 1
    assert "rates ghost" in json.loads(outcome.stdout)["inconsistent"][0]


@pytest.fixture
def rated(tmp_path):
    """Forty recordings of which arousal is the loudness, and two of which are the same; deviations of the raters."""
    root = tmp_path / "rated"
    root.mkdir()
    lines = ["file,arousal,valence,sd a,sd v"]
    for number in range(40):
        sound = corpora.music(max(number, 1), 4.0, level=0.01 + number / 100)
        soundfile.write(root / f"{number}.wav", sound, 22050)
        lines.append(f"{number},{number / 40},{number * 7 % 40 / 40},0.1,0.3")
    (root / "ratings.csv").write_text("\n".join(lines))
    (root / "tenuto.yaml").write_text("emotions: [valence, arousal]\ndeviations: [sd v, sd a]\n")
    return root


def validate(tenuto, root, *options):
    return tenuto("data", "validate", "folder", "--root", root, "--cache", root.parent / "cache", *options)


def test_validate_compares_sounds_and_ratings(tenuto, rated):
    outcome = validate(tenuto, rated)
    warning, order, raters, verdict = outcome.stdout.splitlines()
    assert outcome.exit_code == 0
    assert warning.startswith("warning: 0.wav and 1.wav have the same 3.5 s of sound (")
    assert order.startswith("label order: rank correlations with loudness and onset rate: valence ")
    assert raters == "raters: mean standard deviation, in units of the labels: valence 0.300, arousal 0.100"
    assert verdict == f"{rated}: complete, every recording can be read"


def test_validate_warns_of_exchanged_columns(tenuto, rated):
    table = rated / "ratings.csv"
    table.write_text(table.read_text().replace("arousal,valence", "valence,arousal"))
    outcome = validate(tenuto, rated, "--json")
    report = json.loads(outcome.stdout)
    assert outcome.exit_code == 0
    assert [order["is_exchanged"] for order in report["label_order"]] == [True]
    assert "valence follows loudness and onset rate more than arousal does" in report["warnings"][1]
    assert [(pair["first"], pair["second"]) for pair in report["duplicates"]] == [("0.wav", "1.wav")]


def test_validate_finds_recordings_of_another_folder(tenuto, refused, rated, tmp_path):
    other = tmp_path / "elsewhere" / "deeper"
    other.mkdir(parents=True)
    soundfile.write(other / "unnamed.flac", corpora.music(7, 4.0)[11025:], 22050)
    (other / "broken.mp3").write_bytes(b"no sound")
    outcome = validate(tenuto, rated, "--against", tmp_path / "elsewhere", "--against", rated)
    assert f"warning: 7.wav and {other / 'unnamed.flac'} have the same" in outcome.stdout
    unreadable = f"1 of the other recordings cannot be read or compared: {other / 'broken.mp3'}."
    assert f"warning: {unreadable}" in outcome.stdout
    assert outcome.stdout.count("warning: ") == 3  # the data set is not compared with itself
    (tmp_path / "empty").mkdir()
    message = refused("data", "validate", "folder", "--root", rated, "--against", tmp_path / "empty")
    assert "contains no recording to compare with" in message


def test_a_folder_with_brackets_is_printed_as_it_is_called(tenuto, tmp_path):
    root = tmp_path / "live [bold] :smile:"
    corpora.folder(root, clips=10)
    (root / "disc 1" / "song 3.wav").write_bytes(b"")
    outcome = tenuto("data", "validate", "folder", "--root", root, *FOLDER)
    assert f"altered: {root / 'disc 1' / 'song 3.wav'}" in outcome.stdout
    assert outcome.stdout.splitlines()[-1].startswith(f"{root}: ")


def test_validate_on_the_real_audio(shared, tenuto):
    outcome = tenuto("data", "validate", "soundtracks", "--root", shared / "soundtracks")
    assert outcome.stdout.splitlines() == [
        "duplicates: none among 360 recordings",
        "label order: rank correlations with loudness and onset rate: valence -0.39, energy +0.76 (360 clips)",
        "label order: rank correlations with loudness and onset rate: valence -0.39, tension +0.54 (360 clips)",
        f"{shared / 'soundtracks'}: as published",
    ]


def test_synthesize_makes_a_corpus_that_validates(tenuto, tmp_path, tmp_path_factory):
    root = tmp_path / "synthetic"
    with short.rendered_once(tmp_path_factory):
        made = tenuto("data", "synthesize", "--root", root, "--clips", 15, "--seconds", 11, "--workers", 1)
    assert made.stdout == f"{root}\n"
    assert len(list((root / "Set1").glob("*.mp3"))) == 15
    assert tenuto("data", "validate", "synthetic", "--root", root).exit_code == 0


def test_synthesize_refuses_too_few_clips(tenuto, tmp_path):
    outcome = tenuto("data", "synthesize", "--root", tmp_path / "s", "--clips", 3)
    assert outcome.exit_code == 2
    assert "--clips" in outcome.stderr
    assert not (tmp_path / "s").exists()


@pytest.fixture
def osf(monkeypatch):
    """A function that points downloads at another address of the OSF API, past any proxy and without pauses."""

    def at(api):
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "127.0.0.1")
        for fetch in (remote.osf_download, remote.osf_file):
            monkeypatch.setitem(fetch.__kwdefaults__, "api", api)
            monkeypatch.setitem(fetch.__kwdefaults__, "waits", ())

    return at


@pytest.mark.parametrize("name", ["soundtracks", "midlevel"])
def test_a_server_out_of_reach_is_one_sentence(refused, tmp_path, osf, name):
    with socket.socket() as listener:  # bound and closed again: nobody answers at this port
        listener.bind(("127.0.0.1", 0))
        api = f"http://127.0.0.1:{listener.getsockname()[1]}/v2"
    osf(api)
    assert f"{api}/nodes/p6vkg" in refused("data", "download", name, "--root", tmp_path)


def test_a_download_brings_the_files_and_names_the_next_step(tenuto, tmp_path, osf, monkeypatch):
    with OsfServer() as server:
        server.add("Set1/001.mp3", b"music")
        server.add("mean_ratings_set1.csv", b"ratings")
        server.add("notes.txt", b"not wanted")
        osf(server.api)
        monkeypatch.setattr(soundtracks, "OSF_NODE", NODE)
        expected = dict.fromkeys(("Set1/001.mp3", "mean_ratings_set1.csv"), "")
        monkeypatch.setattr(soundtracks.Soundtracks, "checksums", lambda self: expected)
        outcome = tenuto("data", "download", "soundtracks", "--root", tmp_path)
    assert outcome.exit_code == 0, outcome.output
    assert f"tenuto data validate soundtracks --root {tmp_path}" in outcome.stdout
    assert (tmp_path / "Set1" / "001.mp3").read_bytes() == b"music"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Set1", "mean_ratings_set1.csv"]


def test_prepare_prints_the_numbers_of_all_clips(tenuto, corpus, cache):
    outcome = tenuto("prepare", "--data", "midlevel", "--root", corpus, "--cache", cache)
    line = re.fullmatch(
        r"30 clips of midlevel, (\d+) to (\d+) frames, mean (\S+), deviation (\S+) \(all clips\), "
        r"fingerprint [0-9a-f]{8}\n",
        outcome.stdout,
    )
    frames, mean, deviation = [int(line[1]), int(line[2])], float(line[3]), float(line[4])
    assert frames == [19, 19]  # 0.6 s at 31.3 frames a second, the last one begun
    assert 0 < mean < 1
    assert 0 < deviation < 1
    assert "measured on training clips" in outcome.stderr


def test_environment_variables_name_data_and_cache(tenuto, corpus, tmp_path):
    outcome = tenuto("prepare", TENUTO_DATA=str(corpus), TENUTO_CACHE=str(tmp_path / "cache"))
    assert outcome.exit_code == 0
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 30


def test_an_option_wins_over_its_environment_variable(tenuto, corpus, tmp_path):
    outcome = tenuto("prepare", "--root", corpus, "--cache", tmp_path / "a", TENUTO_CACHE=str(tmp_path / "b"))
    assert outcome.exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_a_full_disk_stops_prepare_and_the_same_command_finishes(
    tenuto, refused, corpus, tmp_path, monkeypatch
):
    cache, written = tmp_path / "cache", []

    def fsync(handle):
        written.append(handle)
        if len(written) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        REAL_FSYNC(handle)

    command = ("prepare", "--root", corpus, "--cache", cache, "--workers", 2)
    monkeypatch.setattr(os, "fsync", fsync)
    message = refused(*command)
    assert "the disk is full. Free some space and run the same command again" in message
    assert "recordings cannot be used" not in message  # that would be a reason to go on with the others
    assert len(list(cache.iterdir())) == 5
    monkeypatch.setattr(os, "fsync", REAL_FSYNC)
    kept = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert tenuto(*command).exit_code == 0
    assert len(list(cache.iterdir())) == 30
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_concepts_shows_percentiles_and_rank_correlations(tenuto, corpus, cache):
    shown = tenuto("data", "concepts", "midlevel", "--root", corpus, "--cache", cache).stdout
    for name in CONCEPTS:
        assert re.search(rf"signal:{name}( +\d\.\d\d){{3}} +(-?\d\.\d\d|–)\n", shown), shown
    assert "30 clips of midlevel" in shown


def test_concepts_says_where_there_are_no_ratings(tenuto, corpus, cache):
    shown = tenuto("data", "concepts", "soundtracks", "--root", corpus, "--cache", cache).stdout
    assert "no ratings to compare with" in shown


def test_concepts_for_programs_and_as_a_table(tenuto, corpus, cache, tmp_path):
    table = tmp_path / "concepts.csv"
    message = tenuto(
        *("data", "concepts", "soundtracks", "--root", corpus, "--cache", cache, "--out", table, "--json")
    )
    content = json.loads(message.stdout)
    assert content["clips"] == 30
    assert list(content["concepts"]["signal:modality"]) == ["p5", "p50", "p95", "spearman"]
    assert content["concepts"]["signal:modality"]["spearman"] is None
    rows = table.read_text().splitlines()
    assert rows[0] == ",".join(["clip", *(f"signal:{name}" for name in CONCEPTS)])
    assert len(rows) == 31


def test_human_concepts_can_be_asked_for_by_the_recordings_name(tenuto, corpus, cache):
    message = tenuto("prepare", "--concepts", "midlevel", "--root", corpus, "--cache", cache)
    assert "30 clips of midlevel" in message.stdout


def test_an_unknown_source_of_concepts_is_answered_with_the_known(refused, corpus, cache):
    message = refused("prepare", "--concepts", "sginal", "--root", corpus, "--cache", cache)
    assert "Did you mean signal?" in message


def test_a_folder_is_asked_for_columns_in_place_of_human_concepts(refused, own):
    options = FOLDER[: FOLDER.index("--concepts")]
    message = refused("prepare", "--data", "folder", *options, "--concepts", "midlevel", "--root", own)
    assert "name the concept columns of your own table" in message
