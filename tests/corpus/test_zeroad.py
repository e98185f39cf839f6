"""0 A.D.'s art, read from a tiny archive in the game's formats that the tests write."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gen3d.corpus import zeroad
from gen3d.corpus.meshes import triangle_areas
from gen3d.corpus.sources import read_sources
from gen3d.corpus.zeroad_actors import CLOTHES
from gen3d.corpus.zeroad_files import GameFiles, parse_mesh
from gen3d.corpus.zeroad_names import naming
from gen3d.errors import Gen3DError, UsageError

SQUARE = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]


def a_mesh(corners: list[tuple[float, float, float]], points: dict[str, tuple[float, ...]] | None = None) -> bytes:
    """A square in the game's format; `points`: translations of attach points."""
    data = struct.pack("<II", len(corners), 1)
    for (x, y, z), (u, v) in zip(corners, [(0, 0), (1, 0), (1, 1), (0, 1)], strict=True):
        data += struct.pack("<8f4f4B", x, y, z, 0, 0, 1, u, v, 1, 0, 0, 0, 0, 255, 255, 255)
    data += struct.pack("<I6HI", 2, 0, 1, 2, 0, 2, 3, 1) + struct.pack("<7f", 0, 1, 0, 0, 0, 0, 1)
    data += struct.pack("<I", len(points or {}))
    for name, place in (points or {}).items():
        data += struct.pack("<I", len(name)) + name.encode() + struct.pack("<7fB", *place, 0, 0, 0, 1, 0)
    return b"PSMD" + struct.pack("<II", 4, len(data)) + data


def a_texture(left: tuple[int, ...], right: tuple[int, ...]) -> bytes:
    image = Image.new("RGBA", (32, 32), left)
    image.paste(right, (16, 0, 32, 32))
    data = io.BytesIO()
    image.save(data, "DDS")
    return data.getvalue()


def an_actor(mesh: str, texture: str, material: str, props: str = "") -> str:
    skin = f'<textures><texture file="{texture}" name="baseTex"/></textures>'
    return (
        f'<actor version="1"><group><variant name="Death" frequency="0"/><variant name="Base" frequency="1">'
        f"<mesh>{mesh}</mesh>{skin}<props>{props}</props></variant></group><material>{material}</material></actor>"
    )


def a_template(parent: str, generic: str = "", actor: str = "") -> str:
    identity = f"<Identity><GenericName>{generic}</GenericName></Identity>" if generic else ""
    looks = f"<VisualActor><Actor>{actor}</Actor></VisualActor>" if actor else ""
    return f'<?xml version="1.0"?><Entity parent="{parent}">{identity}{looks}</Entity>'


FILES: dict[str, str | bytes] = {
    "simulation/templates/template_fauna.xml": a_template("", "Brown Bear"),
    "simulation/templates/gaia/fauna_bear_brown.xml": a_template("template_fauna", "", "bear.xml"),
    "simulation/templates/gaia/fauna_bear_twin.xml": a_template("template_fauna", "", "bear.xml"),
    "simulation/templates/gaia/tree/oak.xml": a_template("", "Tree", "oak.xml"),
    "simulation/templates/gaia/fauna_lost.xml": a_template("gaia/fauna_lost", "Wolf", "bear.xml"),
    "simulation/templates/gaia/fauna_bomb.xml": '<!DOCTYPE x [<!ENTITY a "b">]><Entity/>',
    "simulation/templates/structures/rome/house.xml": a_template("", "House", "house.xml"),
    "simulation/templates/structures/rome/wall_long.xml": a_template("", "Wall", "wall.xml"),
    "simulation/templates/special/marker.xml": a_template("", "Marker", "marker.xml"),
    "art/actors/bear.xml": an_actor("a.dae", "bear.png", "no_trans.xml", '<prop actor="hat.xml" attachpoint="head"/>'),
    "art/actors/hat.xml": an_actor("b.dae", "bear.png", "default.xml"),
    "art/actors/oak.xml": an_actor("b.dae", "leaf.png", "basic_trans_wind.xml"),
    "art/actors/house.xml": an_actor("b.dae", "team.png", "player_trans.xml"),
    "art/actors/wall.xml": an_actor("b.dae", "team.png", "player_trans.xml"),
    "art/actors/marker.xml": an_actor("b.dae", "team.png", "player_trans.xml"),
    "art/meshes/a.pmd": a_mesh(SQUARE, {"head": (0, 2, 3)}),
    "art/meshes/b.dae.cached.pmd": a_mesh(SQUARE),
    "art/textures/skins/bear.png.cached.dds": a_texture((200, 100, 0, 255), (0, 100, 200, 255)),
    "art/textures/skins/leaf.png.cached.dds": a_texture((0, 200, 0, 255), (0, 0, 0, 0)),
    "art/textures/skins/team.png.cached.dds": a_texture((250, 250, 250, 0), (100, 100, 100, 255)),
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("game") / "public.zip"
    with zipfile.ZipFile(path, "w") as stream:
        for name, content in FILES.items():
            stream.writestr(name, content)
    return path


@pytest.fixture(scope="module")
def jobs(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, zeroad.GameJob]:
    return {job.id: job for job in zeroad.read(str(archive), tmp_path_factory.mktemp("s")).jobs}


def test_single_objects_are_kept_with_names_licence_and_what_they_inherit(archive: Path, tmp_path: Path) -> None:
    found = read_sources([archive], tmp_path)
    assert {job.id: job.nouns for job in found.jobs} == {
        "0ad/gaia/fauna_bear_brown": ["brown bear", "bear", "animal"],
        "0ad/gaia/tree/oak": ["tree", "plant"],
        "0ad/structures/rome/house": ["roman house", "house", "building"],
    }
    assert {job.license for job in found.jobs} == {"CC-BY-SA 3.0"}
    assert len(found.failures) == 2  # its own parent, and the one that declares entities
    assert "ancestors" in " ".join(found.failures)
    assert "document type" in " ".join(found.failures)


def test_props_hang_at_their_points_and_front_is_plus_z(jobs: dict[str, zeroad.GameJob]) -> None:
    body, hat = jobs["0ad/gaia/fauna_bear_brown"].load()[0]
    assert np.allclose(hat.vertices - body.vertices, [0, 3, -3])  # the bone is one up, and z is mirrored
    normal = np.cross(*(body.vertices[body.faces[0]][1:] - body.vertices[body.faces[0]][0]))
    assert normal[2] < 0  # the corners turn as the mirrored normals do
    assert (body.normals[:, 2] < 0).all()
    left = body.sample_color(np.array([0]), np.array([[0.05, 0.05, 0.9]]))
    assert np.allclose(left * 255, [[200, 100, 0]], atol=8)


def test_what_a_leaf_leaves_transparent_is_cut_out(jobs: dict[str, zeroad.GameJob]) -> None:
    [part] = jobs["0ad/gaia/tree/oak"].load()[0]
    assert abs(triangle_areas(part).sum() - 0.5) < 0.1
    assert part.vertices[:, 0].max() < 0.7
    everywhere = part.sample_color(np.arange(len(part.faces)), np.full((len(part.faces), 3), 1 / 3))
    assert (everywhere[:, 1] > 0.6).mean() > 0.9


def test_the_colour_of_the_team_becomes_a_natural_one(jobs: dict[str, zeroad.GameJob]) -> None:
    [part] = jobs["0ad/structures/rome/house"].load()[0]
    assert part.texture is not None
    assert any(np.allclose(part.texture[8, 4] / 255, color, atol=0.01) for color in CLOTHES)
    assert np.allclose(part.texture[8, 28], 100, atol=2)


def test_the_package_and_the_unpacked_folder_give_the_same(
    archive: Path, jobs: dict[str, zeroad.GameJob], tmp_path: Path
) -> None:
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(archive) as stream:
        stream.extractall(folder)
    package = tmp_path / "game.deb"
    package.write_bytes(b"!<arch>\n" + _tar_member("control.tar", "./control", b"Package: 0ad-data\n"))
    with package.open("ab") as stream_out:
        stream_out.write(_tar_member("data.tar", "usr/share/games/0ad/mods/public/public.zip", archive.read_bytes()))
    for index, source in enumerate((folder, package, archive.parent)):
        (tmp_path / str(index)).mkdir()
        assert {job.id for job in read_sources([source], tmp_path / str(index)).jobs} == set(jobs)


def _tar_member(name: str, path: str, content: bytes) -> bytes:
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as stream:
        info = tarfile.TarInfo(path)
        info.size = len(content)
        stream.addfile(info, io.BytesIO(content))
    data = tar.getvalue()
    return f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data


def test_an_archive_without_objects_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "public.zip", "w") as stream:
        stream.writestr("simulation/templates/special/x.xml", "<Entity/>")
        stream.writestr("art/actors/x.xml", "<actor/>")
    with pytest.raises(UsageError, match="holds no object"):
        zeroad.read(str(tmp_path / "public.zip"), tmp_path)


@pytest.mark.parametrize("length", [0, 4, 11, 40, 200, -3])
def test_a_mesh_that_is_cut_short_is_refused(length: int) -> None:
    with pytest.raises(Gen3DError, match=r"'x\.pmd' cannot be read"):
        parse_mesh(a_mesh(SQUARE, {"head": (0, 0, 0)})[:length], "x.pmd")


def test_meshes_whose_numbers_cannot_be_are_refused() -> None:
    for corner in (float("nan"), 1e30):
        with pytest.raises(Gen3DError, match="not finite"):
            parse_mesh(a_mesh([(corner, 0, 0), *SQUARE[1:]]), "x.pmd")


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("number", [1e30, float("inf"), float("nan")])
@pytest.mark.parametrize("place", range(7))
def test_attach_points_whose_numbers_cannot_be_are_refused(number: float, place: int) -> None:
    data = a_mesh(SQUARE, {"head": (0, 2, 3)})
    at = len(data) - 29 + 4 * place  # the seven numbers of the last point, and the byte of its bone
    with pytest.raises(Gen3DError, match="an attach point is not finite"):
        parse_mesh(data[:at] + struct.pack("<f", number) + data[at + 4 :], "x.pmd")


def test_no_name_leads_out_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.xml").write_text("<x/>")
    (tmp_path / "game" / "art").mkdir(parents=True)
    (tmp_path / "game" / "link.xml").symlink_to(tmp_path / "secret.xml")
    files = GameFiles(tmp_path / "game")
    for name in ("../secret.xml", "link.xml"):
        with pytest.raises(Gen3DError):
            files.xml(name)


@pytest.mark.parametrize(
    ("template", "generic", "specific", "nouns"),
    [
        ("gaia/fauna_dog_mastiff", "Mastiff", "Canis lupus familiaris", ["mastiff", "dog", "animal"]),
        ("gaia/tree/oak_aut", "Tree", "Oak", ["autumn oak tree", "oak tree", "tree", "plant"]),
        ("gaia/tree/date_palm", "Tree", "Date Palm", ["date palm", "palm tree", "tree", "plant"]),
        ("gaia/treasure/food_barrel", "Treasure", "Food Treasure", ["barrel"]),
        ("structures/rome/temple", "Temple", "Aedes", ["roman temple", "temple", "building"]),
        ("structures/han/wonder", "Wonder", "", ["chinese temple", "temple", "building"]),
        ("units/rome/siege_ram", "Battering Ram", "",
         ["battering ram", "roman battering ram", "siege engine", "vehicle"]),
        ("units/brit/war_dog_e", "War Dog", "", ["war dog", "dog", "animal"]),
        ("units/rome/cavalry_spearman_a", "Roman Cavalry", "", None),
        ("units/rome/support_trader", "Plebeian Merchant", "", None),
        ("structures/rome/wall_medium", "Wall", "", None),
        ("units/cart/siege_ballista_packed", "Siege Catapult", "", None),
    ],
)  # fmt: skip
def test_names_are_what_a_stranger_would_say(
    template: str, generic: str, specific: str, nouns: list[str] | None
) -> None:
    named = naming(template, generic, specific)
    assert (list(named.nouns) if named else None) == nouns
