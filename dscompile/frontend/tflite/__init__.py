"""TFLite files: reading, and every operator as layers of a network."""
