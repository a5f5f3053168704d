"""Write the pipeline definition, and upload what it refers to."""

from spotkit import overlay

__path__ = overlay(__path__, __name__)
