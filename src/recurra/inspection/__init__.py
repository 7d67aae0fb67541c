"""What happens inside a trained network: gradients, spectra, attractors, gates, cost; and the page that shows it."""

__all__: list[str] = []
