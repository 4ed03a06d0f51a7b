import torch
from vitblocks.zoo.nest import NesT
nest = NesT(
    image_size = 224,
    patch_size = 4,
    dim = 96,
    heads = 3,
    num_hierarchies = 3, # number of hierarchies
    block_repeats = (8, 4, 1), # the number of transformer blocks at each heirarchy, starting from the bottom
    num_classes = 1000
)
img = torch.randn(1, 3, 224, 224)
pred = nest(img) # (1, 1000)
