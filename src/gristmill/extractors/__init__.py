"""From the bytes of a file to its text, whatever the format."""

from gristmill.extractors.choose import FileExtractor

__all__ = ["FileExtractor"]
