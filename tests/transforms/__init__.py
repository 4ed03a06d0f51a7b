"""What PyTorch makes of a model besides calling it: gradients of each image, ensembles, traces, exports, compiled code."""
