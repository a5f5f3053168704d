"""Serve a model: requests, predictions, responses."""

from spotkit import overlay

__path__ = overlay(__path__, __name__)
