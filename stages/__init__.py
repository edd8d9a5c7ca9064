"""The road: every stage, in the order in which it runs."""

from pipeline.stage import Road
from stages.corpus import augment, clean, extract, gather
from stages.evaluation import evaluate, report
from stages.release import convert, export
from stages.tokens import tokenize, tokenizer
from stages.training import finetune, pretrain

ROAD: Road = (
    gather.STAGE,
    extract.STAGE,
    clean.STAGE,
    augment.STAGE,
    tokenizer.STAGE,
    tokenize.STAGE,
    pretrain.STAGE,
    finetune.STAGE,
    convert.STAGE,
    export.STAGE,
    evaluate.STAGE,
    report.STAGE,
)
