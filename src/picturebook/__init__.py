"""Train image classifiers from the words beside their pictures; at inference there are only pictures."""

from importlib.metadata import version

__version__ = version("picturebook")
