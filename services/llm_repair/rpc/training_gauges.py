"""What running training steps report of themselves, as metrics."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge

from llm_repair.core.execution import TRAINING_MEASURES


class TrainingGauges:
    """The latest measures of running steps, by step kind; of two of one kind at once, those told last.

    A series ends with its step, so that no old value stands for a run that is over.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._gauges = {
            # Metric names spell their units out.
            name: Gauge(
                f"llm_repair_training_{name.replace('_per_s', '_per_second')}", about, ["kind"], registry=registry
            )
            for name, about in TRAINING_MEASURES.items()
        }

    def show(self, kind: str, measures: Mapping[str, float]) -> None:
        """Takes in what a step reports; measures that are not known are passed over."""
        for name in measures.keys() & self._gauges.keys():
            self._gauges[name].labels(kind).set(measures[name])

    def end(self, kind: str) -> None:
        """Ends the series of a step kind."""
        for gauge in self._gauges.values():
            gauge.remove(kind)
