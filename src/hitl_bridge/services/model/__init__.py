"""From decisions to a signed-off model: training, the gate's word, promotion, lineage."""
