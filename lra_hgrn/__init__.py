"""Long Range Arena for HGRN and other sequence models: data, training, honest tables."""

__version__ = "0.1.0"
