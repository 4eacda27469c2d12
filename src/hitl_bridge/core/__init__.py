"""The functional core: decisions as pure functions over frozen values. No I/O, no clock, no chance."""
