import torch
from vitblocks.zoo.efficient import ViT
from x_transformers import Encoder
v = ViT(
    dim = 512,
    image_size = 224,
    patch_size = 16,
    num_classes = 1000,
    transformer = Encoder(
        dim = 512, # set to be the same as the wrapper
        depth = 12,
        heads = 8,
        ff_glu = True, # ex. feed forward GLU variant https://arxiv.org/abs/2002.05202
        residual_attn = True # ex. residual attention https://arxiv.org/abs/2012.11747
    )
)
img = torch.randn(1, 3, 224, 224)
v(img) # (1, 1000)
