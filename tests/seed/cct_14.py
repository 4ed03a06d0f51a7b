import torch
from vitblocks.zoo.cct import cct_14
model = cct_14(
    img_size=224,
    n_conv_layers=1,
    kernel_size=7,
    stride=2,
    padding=3,
    pooling_kernel_size=3,
    pooling_stride=2,
    pooling_padding=1,
    num_classes=1000,
    positional_embedding='learnable', # ['sine', 'learnable', 'none']
)
