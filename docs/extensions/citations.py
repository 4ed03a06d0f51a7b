"""The papers of the gallery by their arXiv numbers: first author and title, as BibTeX."""

from __future__ import annotations

PAPERS = {
    "2010.11929": ("Dosovitskiy, Alexey", "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale"),
    "2012.12877": ("Touvron, Hugo", "Training data-efficient image transformers \\& distillation through attention"),
    "2101.11986": ("Yuan, Li", "Tokens-to-Token ViT: Training Vision Transformers from Scratch on ImageNet"),
    "2103.00020": ("Radford, Alec", "Learning Transferable Visual Models From Natural Language Supervision"),
    "2103.11886": ("Zhou, Daquan", "DeepViT: Towards Deeper Vision Transformer"),
    "2103.14030": ("Liu, Ze", "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows"),
    "2103.14899": (
        "Chen, Chun-Fu",
        "CrossViT: Cross-Attention Multi-Scale Vision Transformer for Image Classification",
    ),
    "2103.15808": ("Wu, Haiping", "CvT: Introducing Convolutions to Vision Transformers"),
    "2103.16302": ("Heo, Byeongho", "Rethinking Spatial Dimensions of Vision Transformers"),
    "2103.17239": ("Touvron, Hugo", "Going deeper with Image Transformers"),
    "2104.01136": ("Graham, Ben", "LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference"),
    "2104.05704": ("Hassani, Ali", "Escaping the Big Data Paradigm with Compact Transformers"),
    "2104.05707": ("Li, Yawei", "LocalViT: Bringing Locality to Vision Transformers"),
    "2104.13840": ("Chu, Xiangxiang", "Twins: Revisiting the Design of Spatial Attention in Vision Transformers"),
    "2104.14294": ("Caron, Mathilde", "Emerging Properties in Self-Supervised Vision Transformers"),
    "2105.12723": (
        "Zhang, Zizhao",
        "Nested Hierarchical Transformer: Towards Accurate, Data-Efficient and Interpretable Visual Understanding",
    ),
    "2106.02689": ("Chen, Chun-Fu", "RegionViT: Regional-to-Local Attention for Vision Transformers"),
    "2106.08254": ("Bao, Hangbo", "BEiT: BERT Pre-Training of Image Transformers"),
    "2106.09681": ("El-Nouby, Alaaeldin", "XCiT: Cross-Covariance Image Transformers"),
    "2108.00154": (
        "Wang, Wenxiao",
        "CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention",
    ),
    "2110.02178": (
        "Mehta, Sachin",
        "MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer",
    ),
    "2111.06377": ("He, Kaiming", "Masked Autoencoders Are Scalable Vision Learners"),
    "2111.09883": ("Liu, Ze", "Swin Transformer V2: Scaling Up Capacity and Resolution"),
    "2111.09886": ("Xie, Zhenda", "SimMIM: A Simple Framework for Masked Image Modeling"),
    "2111.15667": ("Fayyaz, Mohsen", "Adaptive Token Sampling For Efficient Vision Transformers"),
    "2203.16527": ("Li, Yanghao", "Exploring Plain Vision Transformer Backbones for Object Detection"),
    "2204.01697": ("Tu, Zhengzhong", "MaxViT: Multi-Axis Vision Transformer"),
    "2204.07118": ("Touvron, Hugo", "DeiT III: Revenge of the ViT"),
    "2208.06366": ("Peng, Zhiliang", "BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers"),
    "2211.07636": ("Fang, Yuxin", "EVA: Exploring the Limits of Masked Visual Representation Learning at Scale"),
    "2212.08013": ("Beyer, Lucas", "FlexiViT: One Model for All Patch Sizes"),
    "2303.06908": (
        "Wang, Wenxiao",
        "CrossFormer++: A Versatile Vision Transformer Hinging on Cross-scale Attention",
    ),
    "2303.11331": ("Fang, Yuxin", "EVA-02: A Visual Representation for Neon Genesis"),
    "2303.15343": ("Zhai, Xiaohua", "Sigmoid Loss for Language Image Pre-Training"),
    "2303.15389": ("Sun, Quan", "EVA-CLIP: Improved Training Techniques for CLIP at Scale"),
    "2304.02643": ("Kirillov, Alexander", "Segment Anything"),
    "2304.07193": ("Oquab, Maxime", "DINOv2: Learning Robust Visual Features without Supervision"),
    "2306.00989": ("Ryali, Chaitanya", "Hiera: A Hierarchical Vision Transformer without the Bells-and-Whistles"),
    "2309.16588": ("Darcet, Timoth{\\'e}e", "Vision Transformers Need Registers"),
    "2311.05613": ("Bolya, Daniel", "Window Attention is Bugged: How not to Interpolate Position Embeddings"),
    "2403.13298": ("Heo, Byeongho", "Rotary Position Embedding for Vision Transformer"),
    "2502.14786": (
        "Tschannen, Michael",
        "SigLIP 2: Multilingual Vision-Language Encoders with Improved Semantic Understanding, Localization, and Dense Features",
    ),
    "2508.10104": ("Sim{\\'e}oni, Oriane", "DINOv3"),
}


def bibtex(number: str) -> str:
    """The entry of one paper; its key is the first author, the year and the first word of the title.

    Raises:
        KeyError: a paper that is not in :data:`PAPERS`, which the page of a new one asks for.
    """
    author, title = PAPERS[number]
    year = f"20{number[:2]}"
    surname = "".join(letter for letter in author.partition(",")[0].lower() if letter.isalpha())
    word = "".join(letter for letter in title.split()[0].lower() if letter.isalnum())
    fields = {
        "author": f"{author} and others",
        "title": "{" + title + "}",
        "year": year,
        "eprint": number,
        "archivePrefix": "arXiv",
    }
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@misc{{{surname}{year}{word},\n{lines}\n}}"
