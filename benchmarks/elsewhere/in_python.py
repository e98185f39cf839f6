"""What a program with a Python module makes of a mesh: `python in_python.py PROGRAM FILE [PICTURE CAMERA]`, as JSON.

Run by `opened_elsewhere.py` with the interpreter of an environment of its own: bpy and others pin what gen3d does not
have. Needs nothing of gen3d. PICTURE and CAMERA (JSON: position, fov, size) are for Blender.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

Report = dict[str, Any]


def of_trimesh(path: Path) -> Report:
    import trimesh

    mesh = trimesh.load(path, force="mesh", process=False)
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    return {
        "version": trimesh.__version__, "triangles": len(mesh.faces), "extents": mesh.extents.tolist(),
        "closed": bool(mesh.is_watertight), "euler": int(mesh.euler_number), "parts": int(mesh.body_count),
        "volume": float(mesh.volume), "textures": int(getattr(mesh.visual, "material", None) is not None),
    }  # fmt: skip


def of_open3d(path: Path) -> Report:
    import numpy as np
    import open3d

    mesh = open3d.io.read_triangle_mesh(str(path), enable_post_processing=True)
    textures = len(mesh.textures)
    mesh.merge_close_vertices(1e-9)
    labels = np.asarray(mesh.cluster_connected_triangles()[0])
    return {
        "version": open3d.__version__, "triangles": len(mesh.triangles),
        "extents": (mesh.get_max_bound() - mesh.get_min_bound()).tolist(), "closed": mesh.is_watertight(),
        "euler": mesh.euler_poincare_characteristic(), "parts": int(labels.max()) + 1, "textures": textures,
        "volume": mesh.get_volume() if mesh.is_watertight() else None,
    }  # fmt: skip


def of_pymeshlab(path: Path) -> Report:
    import pymeshlab

    meshes = pymeshlab.MeshSet()
    meshes.load_new_mesh(str(path))
    textures = meshes.current_mesh().texture_number()
    meshes.meshing_merge_close_vertices(threshold=pymeshlab.PureValue(1e-9))
    shape, mesh = meshes.get_topological_measures(), meshes.current_mesh()
    box = mesh.bounding_box()
    return {
        "version": pymeshlab.__version__ if hasattr(pymeshlab, "__version__") else "",
        "triangles": mesh.face_number(), "extents": [box.dim_x(), box.dim_y(), box.dim_z()],
        "closed": shape["boundary_edges"] == 0 and shape["is_mesh_two_manifold"], "textures": textures,
        "euler": shape["vertices_number"] - shape["edges_number"] + shape["faces_number"],
        "parts": shape["connected_components_number"],
    }  # fmt: skip


def of_blender(path: Path, picture: Path | None = None, camera: Report | None = None) -> Report:
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    if path.suffix == ".glb":
        bpy.ops.import_scene.gltf(filepath=str(path))
    else:
        bpy.ops.wm.obj_import(filepath=str(path))
    objects = [thing for thing in bpy.data.objects if thing.type == "MESH"]
    bpy.context.view_layer.update()
    corners = [thing.matrix_world @ vertex.co for thing in objects for vertex in thing.data.vertices]
    size = [max(p[axis] for p in corners) - min(p[axis] for p in corners) for axis in range(3)]
    for thing in objects:
        thing.data.calc_loop_triangles()
    report = {
        "version": bpy.app.version_string, "triangles": sum(len(thing.data.loop_triangles) for thing in objects),
        "extents": [size[0], size[2], size[1]],  # Blender has Z up
        "textures": sum(image.size[0] > 0 for image in bpy.data.images),
        "unit": bpy.context.scene.unit_settings.length_unit,
    }  # fmt: skip
    if picture is not None and camera is not None:
        _draw(picture, camera)
    return report


def _draw(picture: Path, camera: Report) -> None:
    """The materials' own colours, without light, over transparency."""
    import bpy
    from mathutils import Vector

    for material in bpy.data.materials:
        nodes, links = material.node_tree.nodes, material.node_tree.links
        shader = next((node for node in nodes if node.type == "BSDF_PRINCIPLED"), None)
        output = next((node for node in nodes if node.type == "OUTPUT_MATERIAL"), None)
        if shader is None or output is None:
            continue
        light = nodes.new("ShaderNodeEmission")
        color = shader.inputs["Base Color"]
        if color.links:
            links.new(color.links[0].from_socket, light.inputs["Color"])
        else:
            light.inputs["Color"].default_value = color.default_value
        links.new(light.outputs[0], output.inputs["Surface"])
    scene = bpy.context.scene
    x, y, z = camera["position"]
    lens = bpy.data.cameras.new("camera")
    lens.sensor_fit, lens.angle = "VERTICAL", math.radians(camera["fov"])
    eye = bpy.data.objects.new("camera", lens)
    eye.location = (x, -z, y)
    eye.rotation_euler = (-Vector(eye.location)).to_track_quat("-Z", "Y").to_euler()
    scene.collection.objects.link(eye)
    scene.camera = eye
    scene.render.engine = "CYCLES"
    scene.cycles.device, scene.cycles.samples, scene.cycles.use_denoising = "CPU", 8, False
    scene.render.film_transparent = True
    scene.view_settings.view_transform = "Standard"
    scene.render.resolution_x = scene.render.resolution_y = camera["size"]
    scene.render.resolution_percentage = 100
    scene.render.filepath = str(picture)
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"
    bpy.ops.render.render(write_still=True)


def main(words: list[str]) -> int:
    program, path, *more = words
    if program == "blender":
        report = of_blender(Path(path), *([Path(more[0]), json.loads(more[1])] if more else []))
    else:
        report = {"trimesh": of_trimesh, "open3d": of_open3d, "pymeshlab": of_pymeshlab}[program](Path(path))
    print("\n" + json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
