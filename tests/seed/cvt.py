import torch
from vitblocks.zoo.cvt import CvT
v = CvT(
    num_classes = 1000,
    s1_emb_dim = 64, # stage 1 - dimension
    s1_emb_kernel = 7, # stage 1 - conv kernel
    s1_emb_stride = 4, # stage 1 - conv stride
    s1_proj_kernel = 3, # stage 1 - attention ds-conv kernel size
    s1_kv_proj_stride = 2, # stage 1 - attention key / value projection stride
    s1_heads = 1, # stage 1 - heads
    s1_depth = 1, # stage 1 - depth
    s1_mlp_mult = 4, # stage 1 - feedforward expansion factor
    s2_emb_dim = 192, # stage 2 - (same as above)
    s2_emb_kernel = 3,
    s2_emb_stride = 2,
    s2_proj_kernel = 3,
    s2_kv_proj_stride = 2,
    s2_heads = 3,
    s2_depth = 2,
    s2_mlp_mult = 4,
    s3_emb_dim = 384, # stage 3 - (same as above)
    s3_emb_kernel = 3,
    s3_emb_stride = 2,
    s3_proj_kernel = 3,
    s3_kv_proj_stride = 2,
    s3_heads = 4,
    s3_depth = 10,
    s3_mlp_mult = 4,
    dropout = 0.
)
img = torch.randn(1, 3, 224, 224)
pred = v(img) # (1, 1000)
