"""The loader of configs: what it accepts equals YAML 1.2, what it refuses it refuses in the right place."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, model_validator

from pipeline.config import MAX_BYTES, SHIPPED_CONFIGS, Config, find_config, load_config
from pipeline.errors import ConfigError, UsageError
from pipeline.stage import Section, Stage, section_error


class Source(Section):
    folder: str
    license: str


class GatherConfig(Section):
    sources: Annotated[tuple[Source, ...], Field(min_length=1)] = (Source(folder="docs", license="CC0-1.0"),)


class ModelConfig(Section):
    d_model: int = 64
    n_heads: int = 4
    rate: Annotated[float, Field(gt=0)] = 0.5
    anything: Any = None
    foreign_names: ClassVar[Mapping[str, str]] = {"n_embd": "d_model"}

    @model_validator(mode="after")
    def _heads_fit(self) -> ModelConfig:
        if self.d_model % self.n_heads:
            raise section_error("d_model", f"{self.d_model} is not divisible by n_heads {self.n_heads}")
        return self


class TrainConfig(Section):
    max_steps: int = 10


ROAD = (
    Stage("gather", 1, __name__, lambda context: {}, {"gather": GatherConfig}),
    Stage("train", 1, __name__, lambda context: {}, {"model": ModelConfig, "train": TrainConfig}),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("project") / "c.yaml"


def load(place: Path, text: str | bytes, *overrides: str, **options: Any) -> Config:
    place.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return load_config(place, ROAD, overrides=overrides, **options)


def errors(place: Path, text: str | bytes, *overrides: str, **options: Any) -> list[str]:
    """The errors of a config, with `line:column` or the `--set` argument in front."""
    with pytest.raises(ConfigError) as caught:
        load(place, text, *overrides, **options)
    return [error.removeprefix(f"{place}:") for error in caught.value.errors]


def model(loaded: Config) -> ModelConfig:
    section = loaded.sections["model"]
    assert isinstance(section, ModelConfig)
    return section


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model:\n  n_heds: 2", "3:3: unknown key `model.n_heds`; did you mean `n_heads`?"),
        ("model: {zzz: 2}", "2:9: unknown key `model.zzz`; known: d_model, n_heads, rate, anything"),
        ("model: {n_embd: 64}", "2:9: unknown key `model.n_embd`; it is `d_model` here"),
        ("model: {max_steps: 64}", "2:9: unknown key `model.max_steps`; it belongs under `train:`"),
        ("modle: {d_model: 64}", "2:1: unknown section `modle`; did you mean `model`?"),
        ("sede: 3", "2:1: unknown section `sede`; did you mean `seed`?"),
        ("model:\n  d_model: 64\n  d_model: 32", "4:3: `d_model` is given twice (first on line 3)"),
        ("name: again", "2:1: `name` is given twice (first on line 1)"),
        ("model: {n_heads: four}", '2:18: model.n_heads: should be a valid integer, not "four"'),
        ("model: {n_heads: '4'}", '2:18: model.n_heads: should be a valid integer, not "4"'),
        ("model: {n_heads: true}", "2:18: model.n_heads: should be a valid integer, not true"),
        ("model: {n_heads: 4.0}", "2:18: model.n_heads: should be a valid integer, not 4.0"),
        ("model:\n  n_heads:", "3:11: model.n_heads: should be a valid integer, not null"),
        ("model: {n_heads: [4]}", "2:18: model.n_heads: should be a valid integer"),
        ("model: 64", "2:8: model: should be an object, not 64"),
        ("model: {rate: 0}", "2:15: model.rate: should be greater than 0, not 0"),
        ("workers: -1", "2:10: workers: should be greater than or equal to 0, not -1"),
        ("until: trian", "2:8: until: no stage `trian`; did you mean `train`?"),
        ("until: zzz", "2:8: until: no stage `zzz`; known: gather, train"),
        ("until: 3", "2:8: until: should be a valid string, not 3"),
        ("profiles: {cpu: {until: tain}}", "2:25: until: no stage `tain`; did you mean `train`?"),
        ("engine: rya", "2:9: engine: should be 'local' or 'ray', not \"rya\""),
        ("seed: -1", "2:7: seed: should be greater than or equal to 0, not -1"),
        ("model: {rate: .nan}", "2:15: `.nan` is not a finite number"),
        ("model: {rate: -.inf}", "2:15: `-.inf` is not a finite number"),
        ("model: {rate: 1e999}", "2:15: `1e999` is not a finite number"),
        ("model: {d_model: 0x" + "f" * 5000 + "}", "2:18: this number has too many digits"),
        ("model: {d_model: " + "9" * 5000 + "}", "2:18: this number has too many digits"),
        ("model: {d_model: !!int 64}", "2:18: tags are not allowed; remove `tag:yaml.org,2002:int`"),
        ("model: !mine {d_model: 64}", "2:8: tags are not allowed; remove `!mine`"),
        ('model: {anything: "\\ud800"}', "2:19: an escape stands for half a character; write the character itself"),
        ("model: {anything: " + "[" * 40 + "]" * 40 + "}", "2:50: nested more than 32 deep"),
        ("? [a]\n: 1", "2:3: a key has to be a plain word"),
        ("gather:\n  sources: []", "3:12: gather.sources: Tuple should have at least 1 item after validation, not 0"),
        ("gather:\n  sources:\n  - folder: a", "4:5: `gather.sources.0.license` is missing"),
        ("gather: {sources: [1]}", "2:20: gather.sources.0: should be an object, not 1"),
        ("model: {rate: [1, }", "2:19: not valid YAML: expected the node content, but found '}'"),
        ("\tseed: 1", "2:1: not valid YAML: found character '\\t' that cannot start any token"),
        ("# ☃\nmodel: \x00", "3:8: not valid YAML: the control character '\\x00'"),
        ("---\nname: b", "2:1: not valid YAML: but found another document"),
        ("model: {d_model: 66}", "2:18: model.d_model: 66 is not divisible by n_heads 4"),
        ("model: {n_heads: 3}", "2:8: model.d_model: 64 is not divisible by n_heads 3"),
        ("profiles: 3", "2:11: profiles: has to be a mapping of profile names"),
        ("profiles: {cpu: 3}", "2:17: profiles.cpu: has to be a mapping of sections"),
        ("profiles: {cpu: {model: {n_hed: 1}}}", "2:26: unknown key `model.n_hed`; did you mean `n_heads`?"),
        ("profiles: {cpu: {profiles: {}}}", "2:18: `profiles` belongs at the top of the file, and nowhere else"),
        ("profiles: {a: {}, b: {model: {d_model: 2}}}", "2:40: model.d_model: 2 is not divisible by n_heads 4"),
    ],
)  # fmt: skip
def test_each_kind_of_error_is_told_with_its_place(place: Path, text: str, expected: str) -> None:
    found = errors(place, f"name: toy\n{text}\n")
    assert [line if len(line) < 200 else line[:60] for line in found] == [expected]


def test_a_misspelt_key_of_a_list_item_is_told_with_the_nearest_name(place: Path) -> None:
    found = errors(place, "name: toy\ngather:\n  sources:\n    - folder: a\n      licence: b\n")
    assert found == [
        "4:7: `gather.sources.0.license` is missing",
        "5:7: unknown key `gather.sources.0.licence`; did you mean `license`?",
    ]


@pytest.mark.parametrize("text", ["model: &x {d_model: 64}", "model: {anything: &x 1}"])
def test_an_anchor_and_its_alias_are_errors(place: Path, text: str) -> None:
    told = "anchors and aliases (& and *) are not allowed; write the value out"
    column = text.index("&") + 1
    assert errors(place, f"name: toy\n{text}\ntrain: *x\n") == [f"2:{column}: {told}", f"3:8: {told}"]


def test_all_errors_come_at_once(place: Path) -> None:
    text = (
        "seed: no\n"
        "model:\n"
        "  n_embd: 64\n"
        "  rate: .nan\n"
        "  n_heads: x\n"
        "  n_heads: 4\n"
        "modle: 1\n"
        "profiles:\n"
        "  cpu: {train: {max_steps: 1.5}}\n"
        "  gpu: {train: {steps: 1}}\n"
    )
    found = errors(place, text, "model.rate=-1", "train.max_steps", detect="cpu")
    assert sorted(found) == sorted(
        [
            "4:9: `.nan` is not a finite number",
            "6:3: `n_heads` is given twice (first on line 5)",
            "--set train.max_steps: write it as section.key=value",
            "1:1: `name` is missing",
            '1:7: seed: should be a valid integer, not "no"',
            "3:3: unknown key `model.n_embd`; it is `d_model` here",
            '5:12: model.n_heads: should be a valid integer, not "x"',
            "7:1: unknown section `modle`; did you mean `model`?",
            "9:28: train.max_steps: should be a valid integer, not 1.5",
            "10:17: unknown key `train.steps`; did you mean `max_steps`?",
            "--set model.rate=-1: model.rate: should be greater than 0, not -1",
        ]
    )


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model.d_model", "write it as section.key=value"),
        ("model..d_model=3", "write it as section.key=value"),
        ("=3", "write it as section.key=value"),
        ("modle.d_model=3", "unknown section `modle`; did you mean `model`?"),
        ("model.d_modle=3", "unknown key `model.d_modle`; did you mean `d_model`?"),
        ("model.n_embd=3", "unknown key `model.n_embd`; it is `d_model` here"),
        ("model.d_model=3.5", "model.d_model: should be a valid integer, not 3.5"),
        ("model.d_model=[1", "not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("model.rate=.nan", "`.nan` is not a finite number"),
        ("until=gathr", "until: no stage `gathr`; did you mean `gather`?"),
        ("model.n_heads=7", "model.d_model: 64 is not divisible by n_heads 7"),
        ("model={rate: 1, rate: 2}", "`rate` is given twice"),
        ("profiles.cpu.seed=3", "`profiles` belongs at the top of the file, and nowhere else"),
    ],
)
def test_an_error_of_set_names_the_argument(place: Path, override: str, told: str) -> None:
    assert errors(place, "name: toy\n", override) == [f"--set {override}: {told}"]


def test_a_config_over_a_megabyte_is_refused_unread(place: Path) -> None:
    padding = "name: toy\n#" + "x" * (MAX_BYTES - 12) + "\n"
    assert load(place, padding).name == "toy"
    assert errors(place, padding + "#") == ["1:1: 1,000,001 bytes; a config has at most 1,000,000"]


def test_text_that_is_not_utf8_is_told_with_its_place(place: Path) -> None:
    assert errors(place, b"name: toy\n# \xc3\xa9 \xff\n") == ["2:5: not UTF-8 text"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_config_misses_its_name(place: Path, text: str) -> None:
    assert errors(place, text) == ["1:1: `name` is missing"]


def test_a_list_is_no_config(place: Path) -> None:
    assert errors(place, "- name: toy\n") == ["1:1: a config is a mapping of sections"]


def test_an_unknown_profile_is_told_with_the_nearest_name(place: Path) -> None:
    text = "name: toy\nprofiles: {cpu: {}, gpu-12gb: {}}\n"
    assert errors(place, text, profile="cpuu") == ["1:1: no profile `cpuu`; did you mean `cpu`?"]
    assert errors(place, text, profile="tpu-v5") == ["1:1: no profile `tpu-v5`; it has: cpu, gpu-12gb, and auto"]


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        # the examples of the specification, yaml.org/spec/1.2.2 chapter 10.3.2
        ("null", None), ("Null", None), ("NULL", None), ("~", None), ("", None),
        ("true", True), ("True", True), ("TRUE", True), ("false", False), ("False", False), ("FALSE", False),
        ("0", 0), ("0o7", 7), ("0x3A", 58), ("-19", -19),
        ("0.", 0.0), ("-0.0", -0.0), (".5", 0.5), ("+12e03", 12e3), ("-2E+05", -2e5),
        # numbers in 1.2 and not in 1.1, or another number there
        ("3e-4", 3e-4), ("6.0e-4", 6e-4), ("1E5", 1e5), ("0o17", 15), ("017", 17), ("+5", 5), ("007", 7),
        # strings in 1.2 and something else in 1.1
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("NO", "NO"),
        ("1_000", "1_000"), ("0b101", "0b101"), ("190:20:30", "190:20:30"), ("2001-12-14", "2001-12-14"), ("=", "="),
        # nearly something
        ("0o8", "0o8"), ("0xg", "0xg"), ("-0x1", "-0x1"), ("1e", "1e"), (".", "."), ("e5", "e5"), ("tRUE", "tRUE"),
        ("nULL", "nULL"), ("1 2", "1 2"), ("'3'", "3"), ('"true"', "true"), ("--5", "--5"), ("1.2.3", "1.2.3"),
    ],
)  # fmt: skip
def test_plain_scalars_are_those_of_yaml_1_2(place: Path, scalar: str, value: Any) -> None:
    found = model(load(place, f"name: toy\nmodel:\n  anything: {scalar}\n")).anything
    assert (type(found), found) == (type(value), value)
    assert math.copysign(1, found) == math.copysign(1, value) if isinstance(value, float) else True


@given(number=st.floats(allow_nan=False, allow_infinity=False, min_value=1e-300), form=st.sampled_from(["g", "e", "r"]))
@settings(max_examples=60, deadline=None)
def test_positive_numbers_round_trip(place: Path, number: float, form: str) -> None:
    text = {"g": f"{number:.17g}", "e": f"{number:.17E}", "r": repr(number)}[form]
    assert model(load(place, f"name: toy\nmodel: {{rate: {text}}}\n")).rate == number
    assert model(load(place, "name: toy\n", f"model.rate={text}")).rate == number


@given(number=st.integers(-(10**40), 10**40))
@settings(max_examples=60, deadline=None)
def test_integers_round_trip_in_every_base(place: Path, number: int) -> None:
    forms = [str(number), *([hex(number), oct(number)] if number >= 0 else [])]
    found = model(load(place, f"name: toy\nmodel: {{anything: [{', '.join(forms)}]}}\n")).anything
    assert found == [number] * len(forms)


trees = st.recursive(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc: #-", max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(tree=trees, flow=st.booleans())
@settings(max_examples=60, deadline=None)
def test_structure_and_quoting_are_read_as_pyyaml_reads_them(place: Path, tree: Any, flow: bool) -> None:
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    text = yaml.dump(
        {"name": "toy", "model": {"anything": tree}}, Dumper=Plain, default_style='"', default_flow_style=flow
    )
    assert model(load(place, text)).anything == yaml.safe_load(text)["model"]["anything"] == tree


pieces = [*"abn:{}[],-? #&*!|>'\"%@\\\n\t \x00\x85é0.1~", "name: a\n", "model:\n", "  d_model: ", "profiles:\n"]


@given(text=st.lists(st.sampled_from(pieces), max_size=30).map("".join))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_config_or_a_list_of_placed_errors(place: Path, text: str) -> None:
    try:
        load(place, text)
    except ConfigError as error:
        lines = len(re.split("\r\n|[\r\n\x85\u2028\u2029]", text))
        for told in error.errors:
            at = re.match(rf"{re.escape(str(place))}:(\d+):(\d+): \S", told)
            assert at is not None, told
            assert 1 <= int(at[1]) <= lines + 1


@given(depth=st.integers(0, 5), lines=st.integers(0, 5), comment=st.text("xé☃ #", max_size=9))
@settings(max_examples=40, deadline=None)
def test_places_count_lines_and_characters_from_one(place: Path, depth: int, lines: int, comment: str) -> None:
    text = f"#{comment}\nname: toy\nmodel:\n" + "\n" * lines + " " * (depth + 1) + "n_hads: 2\n"
    at = (text.count("\n"), depth + 2)
    assert errors(place, text) == [f"{at[0]}:{at[1]}: unknown key `model.n_hads`; did you mean `n_heads`?"]


def test_comments_and_key_order_change_no_value(place: Path) -> None:
    one = load(place, "name: toy\nseed: 3\nmodel:\n  d_model: 32\n  n_heads: 2\ntrain: {max_steps: 5}\n")
    other = load(
        place, "# why\ntrain:\n  max_steps: 0x5\nmodel: {n_heads: 2, d_model: 32} # so\nseed: 3\nname: 'toy'\n"
    )
    assert one.values() == other.values()
    assert one.sections == other.sections


def test_layers_win_in_order_and_origins_say_which_won(place: Path) -> None:
    text = (
        "name: toy\n"
        "model: {d_model: 8, rate: 0.1}\n"
        "train:\n"
        "  max_steps: 1\n"
        "profiles:\n"
        "  cpu:\n"
        "    seed: 5\n"
        "    model: {d_model: 16}\n"
        "  gpu-12gb: {train: {max_steps: 9}}\n"
    )
    loaded = load(place, text, "model.n_heads=2", "train.max_steps=3", detect="cpu")
    assert (loaded.profile, loaded.seed) == ("cpu", 5)
    assert model(loaded).model_dump() == {"d_model": 16, "n_heads": 2, "rate": 0.1, "anything": None}
    assert loaded.sections["train"] == TrainConfig(max_steps=3)
    assert loaded.origins == {
        "gather.sources": "default",
        "model.d_model": f"{place}:8",
        "model.n_heads": "--set",
        "model.rate": f"{place}:2",
        "model.anything": "default",
        "train.max_steps": "--set",
    }
    assert load(place, text, detect="gpu-12gb").sections["train"] == TrainConfig(max_steps=9)
    assert load(place, text, profile="gpu-12gb", detect="cpu").profile == "gpu-12gb"


def test_a_config_extends_another_and_origins_name_the_file(place: Path) -> None:
    parent = place.with_name("parent.yaml")
    parent.write_text(
        "name: old\nseed: 3\nmodel: {d_model: 8, n_heads: 2}\nprofiles:\n  cpu: {model: {d_model: 16, rate: 0.1}}\n"
    )
    text = "extends: parent.yaml\nname: toy\nmodel: {n_heads: 4}\nprofiles:\n  cpu: {model: {rate: 0.2}}\n"
    loaded = load(place, text, detect="cpu")
    assert (loaded.name, loaded.seed, loaded.path) == ("toy", 3, place)
    assert model(loaded).model_dump() == {"d_model": 16, "n_heads": 4, "rate": 0.2, "anything": None}
    assert [loaded.origins[f"model.{key}"] for key in ("d_model", "n_heads", "rate")] == [
        f"{parent}:5", f"{place}:3", f"{place}:5",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("parent", "text", "expected"),
    [
        ("", "extends: other.yaml", "no file `other.yaml` in "),
        ("", "extends: [parent.yaml]", "2:10: extends: has to be the name of a config"),
        ("extends: c.yaml", "extends: parent.yaml", "parent.yaml:1:10: extends: `c.yaml` extends this file itself"),
        ("model: {d_mode: 3}", "extends: parent.yaml", "parent.yaml:1:9: unknown key `model.d_mode`"),
        ("seed: 1", "extends: parent.yaml\nprofiles: {cpu: {extends: a.yaml}}", "3:18: unknown section `extends`"),
    ],
)
def test_an_error_in_what_is_extended_names_its_file(place: Path, parent: str, text: str, expected: str) -> None:
    place.with_name("parent.yaml").write_text(parent)
    (error,) = errors(place, f"name: toy\n{text}\n")
    assert expected in error


def test_auto_takes_the_first_profile_where_the_hardware_has_none_of_its_own(place: Path) -> None:
    assert load(place, "name: toy\nprofiles: {small: {}, big: {}}\n", detect="cpu").profile == "small"
    assert load(place, "name: toy\n", detect="cpu").profile is None


def test_set_is_for_the_chosen_profile_and_every_other_one_is_checked_as_it_is(place: Path) -> None:
    text = "name: toy\nmodel: {n_heads: 2}\nprofiles:\n  cpu: {}\n  tiny: {model: {d_model: 6}}\n"
    assert model(load(place, text, "model.n_heads=4", detect="cpu")).n_heads == 4
    told = "5:27: model.d_model: 6 is not divisible by n_heads 4"
    assert errors(place, text, "model.n_heads=4", profile="tiny") == [told]
    assert errors(place, text.replace("n_heads: 2", "n_heads: 4"), detect="cpu") == [told]


def test_set_reaches_lists_and_whole_sections(place: Path) -> None:
    sources = "gather.sources=[{folder: a, license: b}]"
    loaded = load(place, "name: toy\nmodel: {d_model: 8}\n", sources, "model={n_heads: 2}", "model.anything= no ")
    assert loaded.sections["gather"] == GatherConfig(sources=(Source(folder="a", license="b"),))
    assert model(loaded).model_dump() == {"d_model": 8, "n_heads": 2, "rate": 0.5, "anything": "no"}


def test_a_loaded_section_cannot_be_changed(place: Path) -> None:
    section = model(load(place, "name: toy\n"))
    with pytest.raises(ValueError, match="frozen"):
        section.d_model = 3  # type: ignore[misc]


def test_relative_paths_start_at_the_config_or_beside_configs(tmp_path: Path) -> None:
    for folder, base in ((tmp_path / "a", tmp_path / "a"), (tmp_path / "configs", tmp_path)):
        folder.mkdir()
        assert load(folder / "c.yaml", "name: toy\n").base == base


def test_a_bare_name_is_looked_up_here_then_in_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config("micropython") == find_config("micropython.yaml") == SHIPPED_CONFIGS / "micropython.yaml"
    Path("configs").mkdir()
    Path("configs/micropython.yaml").touch()
    assert find_config("micropython") == Path("configs/micropython.yaml")
    Path("micropython.yaml").touch()
    assert find_config("micropython") == Path("micropython.yaml")
    with pytest.raises(UsageError, match=r"no config `mine` in .*; found there: .*micropython\.yaml") as caught:
        find_config("mine")
    assert caught.value.hint
    with pytest.raises(UsageError, match=r"no config `elsewhere/mine\.yaml`"):
        find_config("elsewhere/mine.yaml")


def test_an_unreadable_config_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Is a directory"):
        load_config(tmp_path, ROAD)


def test_every_profile_of_the_shipped_configs_is_valid_and_every_key_is_told() -> None:
    from stages import ROAD as WHOLE

    profiles = {"microgpt.yaml": ("current", "earlier")}
    for path in SHIPPED_CONFIGS.glob("*.yaml"):
        for profile in profiles.get(path.name, ("cpu", "gpu-12gb")):
            assert load_config(path, WHOLE, profile=profile).profile == profile
    text = "\n".join(path.read_text(encoding="utf-8") for path in SHIPPED_CONFIGS.glob("*.yaml"))
    sections = {name: kind for stage in WHOLE for name, kind in stage.sections.items() if name != "finetune"}
    untold = [
        key for kind in sections.values() for key in kind.model_fields if not re.search(rf"^ +(# )?{key}: ", text, re.M)
    ]
    assert sorted(set(untold)) == ["sources"]  # a list: its items are on the lines below


def test_the_last_stage_can_be_given_and_taken_back(place: Path) -> None:
    given = load(place, "name: toy\nuntil: gather\n")
    assert given.until == given.values()["until"] == "gather"
    assert given.origins["until"] == f"{place}:2"
    taken = load(place, "name: toy\nuntil: gather\n", "until=null")
    assert taken.until is taken.values()["until"] is None
    assert load(place, "name: toy\n").until is None


def test_values_are_plain_json(place: Path) -> None:
    values = load(place, "name: toy\n").values()
    assert json.loads(json.dumps(values)) == values
    assert values["gather"] == {"sources": [{"folder": "docs", "license": "CC0-1.0"}]}


def test_a_preset_asked_for_takes_the_place_of_the_sizes_in_the_file_and_its_profile() -> None:
    from stages import ROAD as WHOLE

    path = SHIPPED_CONFIGS / "micropython.yaml"
    config = load_config(path, WHOLE, profile="cpu", overrides=["model.preset=medium-80m", "model.n_layers=3"])
    model = config.sections["model"].model_dump()
    assert (model["d_model"], model["n_layers"], model["d_ff"]) == (768, 3, 2048)
    assert config.origins["model.d_model"] == "preset medium-80m"
    assert config.origins["model.n_layers"] == "--set"


def test_nothing_can_be_set_where_nothing_is_a_value() -> None:
    from stages import ROAD as WHOLE

    config = load_config(SHIPPED_CONFIGS / "micropython.yaml", WHOLE, profile="cpu", overrides=["model.init_from="])
    assert config.sections["model"].model_dump()["init_from"] == ""
