"""The report of a repair: `report.json`, and the same numbers as a page and as Markdown."""
