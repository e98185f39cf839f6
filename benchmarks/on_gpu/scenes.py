"""Every representation at 512 pixels a side: a view and its gradients, from the parameters to the image and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from on_gpu.harness import Row, Settings, Skipped, generator, milliseconds, peak_mb, reset_peak, significant

REPRESENTATIONS = ("splats", "mesh", "dmtet", "points", "primitives", "voxels", "nerf", "triplane", "sdf")


def scene_item(name: str) -> Callable[[Settings], Iterator[Row]]:
    """An item that measures one representation as it starts from a ball, with the settings that it has by default."""

    def item(settings: Settings) -> Iterator[Row]:
        try:
            from gen3d.representations.initialisers import shape_from_sphere
        except ImportError as error:
            raise Skipped(f"Scenes are made with the package {error.name}, which is not here.") from None
        from gen3d.config.load import load_stages
        from gen3d.geometry.cameras import turntable
        from gen3d.representations.table import build

        overrides = [f"representation={name}", *(QUICK.get(name, []) if settings.quick else [])]
        config = load_stages(None, overrides, prompt="a ball")[0]
        torch.manual_seed(0)
        scene = build(shape_from_sphere(0.6, size=settings.size(64, 24)), config, generator()).to(settings.device)
        cameras = turntable(1, settings.size(512, 24))
        weights = torch.rand(1, cameras.height, cameras.width, 4, generator=generator(1)).to(settings.device)
        parameters = [parameter for group in scene.param_groups() for parameter in group["params"]]

        def view() -> None:
            with torch.no_grad():
                scene.render(cameras)

        def step() -> None:
            for parameter in parameters:
                parameter.grad = None
            render = scene.render(cameras)
            loss = (torch.cat([render.rgb, render.alpha], -1) * weights).sum()
            (loss + scene.regularization(render, 0.5)).backward()

        reset_peak(settings.device)
        ms = milliseconds(step, settings, least=3)
        figures = {"ms": significant(ms), "view_ms": significant(milliseconds(view, settings, least=3))}
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        finite = bool(grads) and all(bool(grad.isfinite().all()) for grad in grads)
        note = "" if finite else "A gradient is missing or not a number."
        yield Row("", "", "forward and backward", figures | peak_mb(settings.device), "ok" if finite else "wrong", note)

    return item


QUICK = {
    "splats": ["splats.count=200"],
    "mesh": ["mesh.faces=200", "mesh.texture_size=24"],
    "dmtet": ["dmtet.grid=12", "dmtet.color_grid=8"],
    "points": ["points.count=200"],
    "primitives": ["primitives.count=2", "primitives.tessellation=3", "primitives.fit_steps=4"],
    "voxels": ["voxels.grid=16", "voxels.coarse_grid=12", "voxels.occupancy=12", "voxels.samples=16"],
    "nerf": ["nerf.rows=512", "nerf.levels=2", "nerf.finest=24", "nerf.fit_steps=8", "nerf.samples=16",
             "nerf.occupancy=12", "nerf.width=8"],
    "triplane": ["triplane.resolution=12", "triplane.fit_steps=8", "triplane.samples=16", "triplane.occupancy=12",
                 "triplane.width=8"],
    "sdf": ["sdf.rows=512", "sdf.levels=2", "sdf.finest=24", "sdf.fit_steps=8", "sdf.settle_steps=1", "sdf.samples=16",
            "sdf.occupancy=12", "sdf.width=8"],
}  # fmt: skip
"""Toy sizes of each representation."""

ITEMS = {name: scene_item(name) for name in REPRESENTATIONS}
