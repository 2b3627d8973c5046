"""Pixels and model weights: reading photos, cropping, model packs, engines, embedding."""
