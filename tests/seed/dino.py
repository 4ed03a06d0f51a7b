import torch
from vitblocks import ViT, Dino
model = ViT(
    image_size = 256,
    patch_size = 32,
    num_classes = 1000,
    dim = 1024,
    depth = 6,
    heads = 8,
    mlp_dim = 2048
)
learner = Dino(
    model,
    image_size = 256,
    hidden_layer = 'to_latent', # hidden layer name or index, from which to extract the embedding
    projection_hidden_size = 256, # projector network hidden dimension
    projection_layers = 4, # number of layers in projection network
    num_classes_K = 65336, # output logits dimensions (referenced as K in paper)
    student_temp = 0.9, # student temperature
    teacher_temp = 0.04, # teacher temperature, needs to be annealed from 0.04 to 0.07 over 30 epochs
    local_upper_crop_scale = 0.4, # upper bound for local crop - 0.4 was recommended in the paper
    global_lower_crop_scale = 0.5, # lower bound for global crop - 0.5 was recommended in the paper
    moving_average_decay = 0.9, # moving average of encoder - paper showed anywhere from 0.9 to 0.999 was ok
    center_moving_average_decay = 0.9, # moving average of teacher centers - paper showed anywhere from 0.9 to 0.999 was ok
)
opt = torch.optim.Adam(learner.parameters(), lr = 3e-4)
def sample_unlabelled_images():
    return torch.randn(20, 3, 256, 256)
for _ in range(100):
    images = sample_unlabelled_images()
    loss = learner(images)
    opt.zero_grad()
    loss.backward()
    opt.step()
    learner.update_moving_average() # update moving average of teacher encoder and teacher centers
# save your improved network
torch.save(model.state_dict(), './pretrained-net.pt')
