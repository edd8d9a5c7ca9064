"""PDF to Markdown by geometry: glyphs → rows → regions → code and prose → one document."""

from stages.corpus.pdf.reader import PdfText, UnreadablePdf, read_pdf

__all__ = ["PdfText", "UnreadablePdf", "read_pdf"]
