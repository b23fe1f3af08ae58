"""Tensors: how records are read into them. For formats and for remote protocols that score tensors."""
