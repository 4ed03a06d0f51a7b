import torch
from vitblocks.zoo.twins_svt import TwinsSVT
model = TwinsSVT(
    num_classes = 1000, # number of output classes
    s1_emb_dim = 64, # stage 1 - patch embedding projected dimension
    s1_patch_size = 4, # stage 1 - patch size for patch embedding
    s1_local_patch_size = 7, # stage 1 - patch size for local attention
    s1_global_k = 7, # stage 1 - global attention key / value reduction factor, defaults to 7 as specified in paper
    s1_depth = 1, # stage 1 - number of transformer blocks (local attn -> ff -> global attn -> ff)
    s2_emb_dim = 128, # stage 2 (same as above)
    s2_patch_size = 2,
    s2_local_patch_size = 7,
    s2_global_k = 7,
    s2_depth = 1,
    s3_emb_dim = 256, # stage 3 (same as above)
    s3_patch_size = 2,
    s3_local_patch_size = 7,
    s3_global_k = 7,
    s3_depth = 5,
    s4_emb_dim = 512, # stage 4 (same as above)
    s4_patch_size = 2,
    s4_local_patch_size = 7,
    s4_global_k = 7,
    s4_depth = 4,
    peg_kernel_size = 3, # positional encoding generator kernel size
    dropout = 0. # dropout
)
img = torch.randn(1, 3, 224, 224)
pred = model(img) # (1, 1000)
