"""One module for each command: `register` adds its arguments, `run` does it and returns the exit code."""
