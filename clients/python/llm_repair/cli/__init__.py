"""The command line: start a repair, follow it, read its report, gate on it. Imports the client only."""
