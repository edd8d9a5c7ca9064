"""Write what decontamination reads: python -m stages.evaluation.tasks"""

from stages.evaluation.tasks import LINES, as_lines

LINES.write_text(as_lines(), encoding="utf-8")
