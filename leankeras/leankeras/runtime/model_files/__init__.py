"""Model files of Keras 1, 2 and 3, opened without running any code in them."""
