"""Reading data of any kind: records, their checked fields, and running text."""

from edit_lit.records.corpora import Corpus, HubText, TextLines

__all__ = ["Corpus", "HubText", "TextLines"]
