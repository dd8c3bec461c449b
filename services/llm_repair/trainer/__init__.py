"""The trainer service: imports models, repairs them and publishes the result."""
