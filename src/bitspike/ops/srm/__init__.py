"""Online layers of the spike response model: one update per time step, no graph across time or layers."""
