"""The evaluation service: samples from models, lets judges score the samples, reads texts, compares and reports."""
