"""Model files as people have them, of Keras 1, 2 and 3, opened without running anything in them."""
