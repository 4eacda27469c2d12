"""The proof harness: a fake Label Studio, a fault proxy, crash points, a soak, and the oracles that judge them."""
