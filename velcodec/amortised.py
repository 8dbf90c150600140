"""The amortised encoder: a convolutional network from a map to its latent, the start of every latent fit."""

import torch.nn.functional as F
from torch import Tensor, nn

GAIN = 10.0  # lifts the first latents above the quantisation noise, so that training starts


class AmortisedEncoder(nn.Module):
    """Normalised native maps (B, 70, 70) to latents (B, 256) in quantisation steps, float32."""

    def __init__(self, latent: int = 256, width: int = 224) -> None:
        super().__init__()
        self.conv35 = nn.Conv2d(1, 24, 5, stride=2, padding=2)
        self.conv18 = nn.Conv2d(24, 48, 3, stride=2, padding=1)
        self.conv9 = nn.Conv2d(48, 96, 3, stride=2, padding=1)
        self.conv5 = nn.Conv2d(96, 128, 3, stride=2, padding=1)
        self.hidden = nn.Linear(128 * 25, width)
        self.out = nn.Linear(width, latent)

    def forward(self, maps: Tensor) -> Tensor:
        h = maps[:, None]
        for conv in (self.conv35, self.conv18, self.conv9, self.conv5):
            h = F.gelu(conv(h))
        return GAIN * self.out(F.gelu(self.hidden(h.flatten(1)))).float()
