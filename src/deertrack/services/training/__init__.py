"""Learning from a labelled herd: a head for a pack, or a network fine-tuned to it."""
