"""Measure a model: metrics, baselines, plots and pages."""

from spotkit import overlay

__path__ = overlay(__path__, __name__)
