"""How a SageMaker job starts, where it finds its inputs, and where it reports a failure."""

from spotkit import overlay

__path__ = overlay(__path__, __name__)
