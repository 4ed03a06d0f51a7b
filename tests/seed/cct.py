import torch
from vitblocks.zoo.cct import CCT
model = CCT(
    img_size=224,
    embedding_dim=384,
    n_conv_layers=2,
    kernel_size=7,
    stride=2,
    padding=3,
    pooling_kernel_size=3,
    pooling_stride=2,
    pooling_padding=1,
    num_layers=14,
    num_heads=6,
    mlp_radio=3.,
    num_classes=1000,
    positional_embedding='learnable', # ['sine', 'learnable', 'none']
)
