"""The verdict: each figure is judged good or doubtful where it should be, and says what to try."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from test_report import rate, run_manifests, scored

import stages
from stages.evaluation.page import run
from stages.evaluation.page.finding import Finding, graded
from stages.evaluation.page.run import Run
from stages.evaluation.page.verdict import ORDER, findings, headline, told

Change = Callable[[dict[str, Any]], Any]


def judged(*changes: Change) -> list[Finding]:
    manifests = run_manifests()
    for change in changes:
        change(manifests)
    return findings(Run(manifests))


def speaker(**scores: Any) -> Change:
    return lambda told: told["evaluate"]["metrics"]["models"][0].update(scores)


def metrics(stage: str, **values: Any) -> Change:
    return lambda told: told[stage]["metrics"].update(values)


def keeps_last(stage: str, **values: Any) -> Change:
    """Metrics of a run that was asked for its last weights."""

    def change(told: dict[str, Any]) -> None:
        told[stage]["material"]["config"][stage]["keep"] = "last"
        told[stage]["metrics"].update(values)

    return change


CASES: list[tuple[str, Change, str, str, str]] = [
    ("solves little", speaker(**{"pass": {"1": rate(0.05)}}),
     "5.0 % of the tasks are solved", "bad", "pretrain.max_steps=2400"),
    ("solves some", speaker(**{"pass": {"1": rate(0.2)}}), "20.0 % of the tasks are solved", "doubtful", ""),
    ("solves most", speaker(**{"pass": {"1": rate(0.6)}}), "60.0 % of the tasks are solved", "good", ""),
    ("knows it later", speaker(**{"pass": {"1": rate(0.05), "10": rate(0.4)}}),
     "not its likeliest", "bad", "finetune.max_steps=280"),
    ("compiles", speaker(compile_rate=rate(0.85)), "85.0 % of the answers compile", "good", ""),
    ("compiles less", speaker(compile_rate=rate(0.65)),
     "65.0 % of the answers compile", "doubtful", "pretrain.max_steps=2400"),
    ("compiles little", speaker(compile_rate=rate(0.3)), "30.0 % of the answers compile", "bad", ""),
    ("ends", speaker(ended=rate(0.96)), "96.0 % of the answers end by themselves", "good", ""),
    ("often ends", speaker(ended=rate(0.9)), "10.0 % of the answers do not end", "doubtful", "evaluate.max_tokens=320"),
    ("seldom ends", speaker(ended=rate(0.5)), "50.0 % of the answers do not end", "bad", "finetune.max_steps=280"),
    ("invents names", speaker(unknown_api={**rate(0.2), "uses": 100}), "20.0 % of 100 uses", "bad", ""),
    ("knows the names", speaker(unknown_api={**rate(0.01), "uses": 100}), "1.0 % of 100 uses", "good", ""),
    ("copies", speaker(verbatim={"share": 0.3, "longest": 200}),
     "30.0 % of what it writes stands", "bad", "finetune.max_steps=70"),
    ("copies little", speaker(verbatim={"share": 0.001, "longest": 5}), "0.1 % of what it writes", "good", ""),
    ("still falling", metrics("pretrain", validation=[[10, 5.0], [30, 4.0], [40, 3.5]]),
     "loss of pretraining was still falling",
     "doubtful", "pretrain.max_steps=2400"),
    ("settled", metrics("pretrain", validation=[[10, 5.0], [30, 3.51], [40, 3.5]]),
     "Pretraining has settled", "good", ""),
    ("overfits", metrics("finetune", validation=[[10, 3.0], [20, 2.5], [40, 2.8]]),
     "Finetuning overfits: the validation loss was 2.500 at step 20",
     "doubtful", "finetune.max_steps=20"),
    ("went on as asked", keeps_last("finetune", validation=[[10, 3.0], [20, 2.5], [40, 2.8]]),
     "lowest validation loss (2.500 at step 20, 2.800 at the end), as finetune.keep asks", "unknown",
     "finetune.keep=best"),
    ("knows its own text", metrics("pretrain", validation=[[30, 7.0], [40, 7.0]]),
     "knows its own text better", "doubtful", "model.dropout"),
    ("best at the end", metrics("pretrain", validation=[]), "best at its last step", "doubtful", ""),
    ("blew up", metrics("pretrain", rollbacks=2),
     "Pretraining blew up 2 times", "doubtful", "pretrain.learning_rate=0.0025"),
    ("learnt nothing", metrics("pretrain", val_loss=6.7), "hardly below 6.800", "bad", ""),
    ("read too often", metrics("pretrain", epochs=20), "read its text 20.00 times", "doubtful", ""),
    ("too little text", metrics("pretrain", parameters=25_000_000),
     "464 k tokens of text for 25.0 M parameters", "doubtful", ""),
    ("a source is missing", metrics("gather", without={"pypi:x": "no network"}),
     "1 source could not be had: pypi:x", "doubtful", "--force gather"),
    ("no licence", metrics("gather", licenses={"": 3, "MIT": 9}), "3 files have no licence", "bad", ""),
    ("licences", metrics("gather", licenses={"MIT": 9}), "Every file has a licence: MIT", "good", ""),
    ("unread", metrics("extract", left_out={"damaged": 100}),
     "100 of 372 files gave no text", "doubtful", "show --dropped"),
    ("duplicates", lambda told: told["clean"]["metrics"]["characters"].update(dropped={"near-duplicate": 2_000_000}),
     "of the text came twice", "doubtful", "show --dropped"),
    ("near", metrics("clean", similarity={"highest": 0.75}),
     "near to training text (similarity up to 0.750)", "doubtful", "near_duplicate"),
    ("apart", metrics("clean", similarity={"highest": 0.2}), "Nothing held back is near", "good", ""),
    ("little held back", metrics("tokenize", val={"tokens": 900}),
     "Only 900 tokens of text are held back", "doubtful", "val_fraction=0.12"),
    ("unused pieces", metrics("tokenize", pieces={"unused": 900, "unused_share": 0.3}),
     "30.0 % of the tokenizer's pieces", "doubtful",
     "tokenizer.vocab_size=2048"),
    ("loses much", lambda told: told["export"]["metrics"]["files"]["q4_k_m"].update(kl=0.3),
     "diverges from F16 by 0.300", "bad", ""),
    ("loses little", lambda told: None, "diverges from F16 by 0.00502", "good", ""),
    ("quantised writes worse", speaker(compile_rate=rate(0.5)), "than of F16's: 50.0 % against 66.0 %", "doubtful", ""),
    ("calibrated on its test", metrics("export", proof={"text": {"apart_from_calibration": "nothing"}}),
     "Too little text was held back",
     "doubtful", "val_fraction"),
    ("proof", metrics("export", proof={"top1_agreement_f16": 0.5}), "in 50.0 % of places", "bad", ""),
    ("answers do not end", metrics("export", proof={"chat": {"answers": 9, "ended": 3}}),
     "only 3 times", "doubtful", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "text", "grade", "command"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_figure_is_judged(change: Change, text: str, grade: str, command: str) -> None:
    found = judged(change)
    matching = [each for each in found if text in each.text]
    assert [each.grade for each in matching] == [grade], [each.text for each in found]
    assert command in " ".join(each.command for each in found)
    assert grade == "good" or matching[0].next


@pytest.mark.parametrize("curve", [[], [[40, 2.8]], [[10, 3.0], [20, 2.5], [40, 2.8]]])
def test_who_asks_for_the_last_weights_is_not_told_that_they_were_the_best_nor_to_train_otherwise(curve: Any) -> None:
    found = judged(keeps_last("finetune", validation=curve), keeps_last("pretrain", validation=curve))
    text = " ".join(f"{each.text} {each.next}" for each in found)
    for claim in ("best at its last step", "overfit", "whole answers", "stop about there"):
        assert claim not in text
    assert not any(f"{stage}.max_steps=20" in each.command for each in found for stage in ("pretrain", "finetune"))


def test_the_stages_are_in_the_order_of_the_road() -> None:
    """The page may not import it: the road has the stage that writes the page."""
    assert [stage.name for stage in stages.ROAD if stage.name != "report"] == [*run.ROAD]


def test_the_doubts_come_first_and_a_command_only_once() -> None:
    found = judged(speaker(**{"pass": {"1": rate(0.05)}}), speaker(compile_rate=rate(0.3)))
    grades = [ORDER.index(each.grade) for each in found]
    assert grades == sorted(grades) and len(set(grades)) > 2
    commands = [each.command for each in found if each.command]
    assert len(commands) == len(set(commands))
    assert any(each.next.endswith(", as above") for each in found)


def test_the_headline_says_what_it_can_do_and_what_is_in_doubt() -> None:
    run = Run(run_manifests())
    said = headline(run, findings(run))
    assert said.startswith(
        "It solves 8.3 % of the tasks at the first try (6.3 to 10.3 %), and 64.1 % of its answers compile."
    )
    assert "Weak or doubtful: " in said and "a loss that was still falling" in said


def test_the_headline_fits_what_was_measured() -> None:
    def of(*changes: Change) -> str:
        manifests = run_manifests()
        for change in changes:
            change(manifests)
        return headline(Run(manifests), findings(Run(manifests)))

    def not_run(told: dict[str, Any]) -> None:
        told["evaluate"]["metrics"] |= {"executed": False, "models": [scored("q4_k_m", 0.7, None)]}

    assert of(not_run).startswith("70.0 % of its answers compile; whether they work was not tried.")
    old = lambda told: told["evaluate"].update(metrics={"scores": {}})  # noqa: E731
    assert of(old).startswith("It predicts held-back text at 1.476 bits per byte; what its programs are worth")
    assert headline(Run({"gather": {}}), []) == "There is no model yet."
    assert headline(Run(run_manifests()), [Finding("good", "x")]).endswith("Nothing that was measured is in doubt.")


def test_limits_belong_to_the_better_side() -> None:
    assert [graded(value, (0.8, 0.6)) for value in (0.8, 0.6, 0.59)] == ["good", "doubtful", "bad"]
    assert [graded(value, (0.01, 0.1), more=False) for value in (0.01, 0.1, 0.11)] == ["good", "doubtful", "bad"]


def test_a_run_without_figures_has_no_findings_but_what_was_not_measured() -> None:
    assert [each.grade for each in findings(Run({"evaluate": {}}))] == ["unknown"]
    assert told([Finding("good", "x"), Finding("bad", "y", "z")]) == [
        {"grade": "good", "text": "x"},
        {"grade": "bad", "text": "y", "next": "z"},
    ]
