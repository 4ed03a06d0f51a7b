import torch
from vitblocks.zoo.levit import LeViT
levit = LeViT(
    image_size = 224,
    num_classes = 1000,
    stages = 3, # number of stages
    dim = (256, 384, 512), # dimensions at each stage
    depth = 4, # transformer of depth 4 at each stage
    heads = (4, 6, 8), # heads at each stage
    mlp_mult = 2,
    dropout = 0.1
)
img = torch.randn(1, 3, 224, 224)
levit(img) # (1, 1000)
