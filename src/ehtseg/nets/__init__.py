"""The networks: images in, logits of the same height and width out."""
