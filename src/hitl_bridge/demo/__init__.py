"""The demo: the whole loop on an invented support inbox (or on handwritten digits), with simulated reviewers."""
