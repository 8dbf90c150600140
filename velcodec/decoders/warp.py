"""The default decoder: a feature grid and a warped depth profile, finished by a small sine network.

    latent z (256) -> seed 5x5 -> 9x9 -> 18x18 -> 36x36 -> feature grid F (72 x 72)
                   -> profile g (96 samples of depth, 16 channels)

    v(x, z) = sine_network( F(x, z), g(z + s(x, z)), x, z ),   s = first channel of F

Layered media are one profile of depth read at a warped depth, plus a two-dimensional correction. The grid covers
a little more than [-1, 1]^2: its 72 x 72 samples lie on the cell centres of the native 70 x 70 grid and one cell
around it, so that a native decode interpolates nothing. Between samples the grid and the profile are linear, and
v is a continuous function of (x, z).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NATIVE = 70  # cells along each side of the maps that the grid is laid for
SIDE = 72  # samples along each side of the feature grid
SPAN = SIDE / NATIVE  # half the width of the grid, in unit coordinates
ROUNDING = 2e-5  # of a sample: within what float32 leaves of it, a point is on a sample
PROFILE_SPAN = 1.28  # half the length of the profile: a warp may reach beyond the map


class WarpDecoder(nn.Module):
    """Latents (B, 256) and points in [-1, 1]^2 to normalised values, continuous in (x, z).

    Args:
        latent: numbers in a latent.
        features: channels of the feature grid, the warp among them.
        channels: channels of the depth profile.
        samples: samples of the depth profile.
        width: units of each sine layer.
    """

    def __init__(
        self, latent: int = 256, features: int = 10, channels: int = 16, samples: int = 96, width: int = 32
    ) -> None:
        super().__init__()
        self.latent, self.channels, self.samples = latent, channels, samples
        self.seed = nn.Linear(latent, 64 * 25)
        self.grow9 = nn.Conv2d(64, 48, 3, padding=1)
        self.grow18 = nn.Conv2d(48, 32, 3, padding=1)
        self.grow36 = nn.Conv2d(32, 64, 3, padding=1)
        self.grow72 = nn.Conv2d(16, 4 * features, 3, padding=1)
        self.profile1 = nn.Linear(latent, 256)
        self.profile2 = nn.Linear(256, channels * samples)
        inputs = features - 1 + channels
        self.sine1 = nn.Linear(inputs + 2, width)
        self.sine2 = nn.Linear(width, width)
        self.out = nn.Linear(width, 1)
        self.skip = nn.Linear(inputs, 1, bias=False)

    def forward(self, latents: Tensor, points: Tensor) -> Tensor:
        """Values (B, P) at points (P, 2) or (B, P, 2) given as (x, z) in [-1, 1]^2; differentiable in both."""
        if points.dim() == 2:
            points = points.expand(len(latents), -1, -1)
        grid, profile = self.grow(latents)
        at = (points.to(grid.dtype) / SPAN)[:, None]
        features = F.grid_sample(grid, at, align_corners=False, padding_mode="border")
        return self._finish(features, profile, points[:, None].to(grid.dtype))[:, 0]

    def grid(self, latents: Tensor, z: Tensor, x: Tensor) -> Tensor:
        """Values (B, H, W) on the regular grid of depths z (H,) and positions x (W,): no scattered sampling."""
        grid, profile = self.grow(latents)
        features = _lerp(_lerp(grid, z, 2), x, 3)
        points = torch.stack(torch.meshgrid(x, z, indexing="xy"), -1).to(grid.dtype)
        plain = features.device.type == "cpu" and features.dtype == torch.float32 and self.samples > 1
        if plain and not torch.is_grad_enabled():
            return self._compiled(features, profile, points)
        return self._finish(features, profile, points[None])

    def grow(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (B, 256) to the feature grid (B, C, 72, 72) and the profile (B, R, samples)."""
        h = F.gelu(self.seed(latents)).view(-1, 64, 5, 5)
        h = F.gelu(self.grow9(_resize(h, 9)))
        h = F.gelu(self.grow18(_resize(h, 18)))
        h = F.gelu(F.pixel_shuffle(self.grow36(h), 2))
        grid = F.pixel_shuffle(self.grow72(h), 2)
        profile = self.profile2(F.gelu(self.profile1(latents)))
        profile = profile.view(-1, self.channels, self.samples)
        return grid.to(latents.dtype), profile.to(latents.dtype)  # autocast leaves them in bfloat16

    def _finish(self, features: Tensor, profile: Tensor, points: Tensor) -> Tensor:
        """Features (B, C, H, W) at points (B or 1, H, W, 2) to values (B, H, W).

        The first sine layer and the skip are linear in features, profile and coordinates: the profile's share is
        computed on its few samples before it is read, the coordinates' once for all maps.
        """
        b, own = len(features), features.shape[1] - 1
        weight = self.sine1.weight
        of_features = torch.cat([weight[:, :own], self.skip.weight[:, :own]])
        depth = (points[..., 1] + features[:, 0]) / PROFILE_SPAN
        at = torch.stack([depth, torch.zeros_like(depth)], -1)
        shares = self._shares(profile).to(features.dtype)[:, :, None]
        read = F.grid_sample(shares, at, align_corners=False, padding_mode="border")
        # Channels stay first: points lie together in memory from here on.
        h = torch.baddbmm(read.flatten(2), of_features.expand(b, -1, -1), features[:, 1:].flatten(2))
        place = F.linear(points, weight[:, -2:], self.sine1.bias).movedim(-1, 1).flatten(2)
        skip = h[:, -1:] + self.out.bias
        h = torch.sin(h[:, :-1] + place)
        h = torch.sin(torch.baddbmm(self.sine2.bias[:, None], self.sine2.weight.expand(b, -1, -1), h))
        v = torch.baddbmm(skip, self.out.weight.expand(b, -1, -1), h)
        return v.view_as(depth).to(features.dtype)

    def _shares(self, profile: Tensor) -> Tensor:
        """What samples of the profile (B, R, samples) add to the first sine layer and the skip (B, W + 1, samples)."""
        own = self.sine1.in_features - self.channels - 2
        of_profile = torch.cat([self.sine1.weight[:, own:-2], self.skip.weight[:, own:]])
        return torch.matmul(of_profile, profile)

    def _compiled(self, features: Tensor, profile: Tensor, points: Tensor) -> Tensor:
        """`_finish` at points (H, W, 2), where nothing is differentiated, in a fraction of the time."""
        from .sine_layers import finished  # numba takes a while to import

        own = features.shape[1] - 1
        weight, skip = self.sine1.weight, self.skip.weight[:, :own]
        first = torch.cat([torch.cat([weight[:, :own], weight[:, -2:]], 1), F.pad(skip, (0, 2))])
        bias = torch.cat([self.sine1.bias, self.out.bias])
        layers = [
            of.detach().numpy() for of in (first, bias, self.sine2.weight, self.sine2.bias, self.out.weight)
        ]
        x, z = points.reshape(-1, 2).T.contiguous().numpy()
        shares = self._shares(profile).float().numpy()  # autocast leaves them in bfloat16
        values = finished(features.flatten(2).contiguous().numpy(), shares, x, z, PROFILE_SPAN, layers)
        return torch.from_numpy(values).view(len(features), *points.shape[:2])


def _resize(h: Tensor, side: int) -> Tensor:
    return F.interpolate(h, size=(side, side), mode="bilinear", align_corners=False)


def _lerp(grid: Tensor, coordinate: Tensor, axis: int) -> Tensor:
    """Linear interpolation of a grid along one axis at unit coordinates (n,), clamped at the border."""
    at = ((coordinate / SPAN + 1) * (SIDE / 2) - 0.5).clamp(0, SIDE - 1)
    whole = at.round()
    at = torch.where((at - whole).abs() < ROUNDING, whole, at)
    low = at.floor().clamp(max=SIDE - 2)
    i, first, count = low.long(), int(low[0]), len(low)
    if bool((at == low).all()):  # the native cells, or some of them
        in_a_row = bool((at == torch.arange(first, first + count, device=at.device)).all())
        return grid.narrow(axis, first, count) if in_a_row else grid.index_select(axis, i)
    shape = [1] * grid.dim()
    shape[axis] = -1
    weight = (at - low).view(shape).to(grid.dtype)
    return torch.lerp(grid.index_select(axis, i), grid.index_select(axis, i + 1), weight)
