"""What is fuzzed: each target has seeds, mutations of its format, and a reader of one case.

A reader may return or raise a WrnError; anything else is a finding.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import random
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from PIL import Image

from fakes import NETWORKS, TINY, FakeEngine, grey_png, python2_batch, tiny_bundle, tiny_tensors, write_hub
from fuzz.mutate import NUMBERS, mutate, mutate_headed_json, mutate_json_text, mutate_png, mutate_zip, zip_of
from mat5 import write_structs
from wideresnet.bundle import read_bundle, write_bundle
from wideresnet.datasets.labels import read_labels

Seeds = list[bytes]
Mutation = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Target:
    """``read`` gets a case and an empty folder. ``engine``: it runs a network, whose threads reserve address space."""

    seeds: Callable[[], Seeds]
    read: Callable[[bytes, Path], object]
    mutate: Mutation
    engine: bool = False

    def case(self, seed: int, index: int) -> bytes:
        """Case ``index`` of ``seed``, the same everywhere; the first ones are the unchanged seeds."""
        seeds = kept(self.seeds)
        if index < len(seeds):
            return seeds[index]
        chance = random.Random(f"{seed}/{index}")
        return self.mutate(chance.choice(seeds), chance)


@cache
def kept(seeds: Callable[[], Seeds]) -> Seeds:
    return seeds()


def of_bytes(seeds: Callable[[], Seeds]) -> Mutation:
    return lambda data, chance: mutate(data, chance, kept(seeds))


# ---- images


def images() -> Seeds:
    noise = np.random.default_rng(0).integers(0, 256, (24, 16, 4), np.uint8)
    rgb, rgba = Image.fromarray(noise[..., :3]), Image.fromarray(noise)
    grey, wide = rgb.convert("L"), Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    kinds: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (rgb, "PNG", {}),
        (rgba, "PNG", {}),
        (wide, "PNG", {}),
        (rgb.convert("P"), "PNG", {"transparency": 1}),
        (rgb, "JPEG", {}),
        (rgb, "JPEG", {"progressive": True}),
        (rgb.convert("CMYK"), "JPEG", {}),
        (rgb, "GIF", {}),
        (grey, "BMP", {}),
        (rgb, "PPM", {}),
        (rgb, "WEBP", {}),
        (rgba, "WEBP", {"lossless": True}),
        (rgb, "TIFF", {}),
        (rgb, "TIFF", {"compression": "tiff_lzw"}),
        (wide, "TIFF", {}),
        (rgb, "JPEG2000", {}),
        (rgb, "AVIF", {}),
    ]
    out = []
    for image, kind, options in kinds:
        file = io.BytesIO()
        image.save(file, kind, **options)
        out.append(file.getvalue())
    arrays = io.BytesIO()
    np.savez(arrays, input_0=noise[..., :3].transpose(2, 0, 1))
    return [*out, arrays.getvalue()]


def mutate_image(data: bytes, chance: random.Random) -> bytes:
    if data.startswith(b"\x89PNG") and chance.random() < 0.7:
        return mutate_png(data, chance)
    return mutate_zip(data, chance) if data.startswith(b"PK") else mutate(data, chance, kept(images))


def read_image(data: bytes, _: Path) -> None:
    from wideresnet.images.decode import Limits, decode
    from wideresnet.images.npz import npz_image

    if data.startswith(b"PK"):
        npz_image(io.BytesIO(data))
    decode(data, limits=Limits(pixels=2**22, bytes=2**24))


# ---- weights files


def state() -> dict[str, np.ndarray]:
    return {key: np.asarray(value) for key, value in tiny_tensors(TINY["wrn_10_1"]).items()}


@cache
def safetensors() -> bytes:
    from safetensors.numpy import save

    return bytes(save(state(), {"format": "pt"}))


def headed() -> Seeds:
    from pydantic import TypeAdapter

    from wideresnet.records import ModelCard

    card = TypeAdapter(ModelCard).dump_json(tiny_bundle().card).decode()
    length = int.from_bytes(safetensors()[:8], "little")
    header = json.loads(safetensors()[8 : 8 + length])
    header["__metadata__"] = {"wideresnet.card": card, "wideresnet.labels": "\n".join("abcdefghij")}
    text = json.dumps(header).encode()
    return [safetensors(), len(text).to_bytes(8, "little") + text + safetensors()[8 + length :]]


@cache
def pickled() -> tuple[bytes, bytes, bytes]:
    """A file of torch.save as a zip archive and as before, and Python's own pickle of arrays."""
    import pickle

    torch = __import__("torch")
    tensors = {key: torch.from_numpy(value) for key, value in state().items()}
    modern, legacy = io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": tensors, "epoch": 3}, modern)
    torch.save(tensors, legacy, _use_new_zipfile_serialization=False)
    return modern.getvalue(), legacy.getvalue(), pickle.dumps(state(), 2)


def pickles() -> Seeds:
    return [pickled()[0]]


def bare_pickles() -> Seeds:
    import pickle

    return [*pickled()[1:], pickle.dumps(state(), 5), python2_batch(np.zeros((2, 3072), np.uint8), [1, 2])]


def mutate_pickle(data: bytes, chance: random.Random) -> bytes:
    """Mostly in the first thousands of bytes: the structure, before the numbers."""
    size = chance.choice((200, 2000, 20_000, len(data)))
    return mutate(data[:size], chance, kept(bare_pickles)) + data[size:]


def npz() -> Seeds:
    file = io.BytesIO()
    np.savez(file, **state())
    return [file.getvalue()]


def indices() -> Seeds:
    names = {key: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, key in enumerate(state())}
    return [json.dumps({"metadata": {"total_size": 1}, "weight_map": names}).encode()]


def read_weights(data: bytes, folder: Path, name: str = "model.pth") -> None:
    from wideresnet.records import FileFacts
    from wideresnet.tasks.load.weights_file import read_file

    (folder / name).write_bytes(data)
    read_file(folder / name, FileFacts())


def read_index(data: bytes, folder: Path) -> None:
    for number in (1, 2):
        (folder / f"model-0000{number}-of-00002.safetensors").write_bytes(safetensors())
    read_weights(data, folder, "model.safetensors.index.json")


def hubs() -> Seeds:
    cfg = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.9, "crop_mode": "center"}
    return [
        json.dumps({"label_names": [*"abcdefghij"], "pretrained_cfg": cfg}).encode(),
        json.dumps({"id2label": {str(index): "x" for index in range(10)}}).encode(),
    ]


def read_hub(data: bytes, folder: Path) -> None:
    (folder / "config.json").write_bytes(data)
    read_weights(safetensors(), folder, "model.safetensors")


# ---- graphs and bundles


@cache
def quantised() -> bytes:
    from wideresnet.graph.quantise import quantise

    images = list(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8))
    return quantise(tiny_bundle().model, images).SerializeToString()


def graphs() -> Seeds:
    return [tiny_bundle(NETWORKS[name]).graph for name in ("wrn_10_1", "skip_norm", "postact")] + [quantised()]


def mutate_graph(data: bytes, chance: random.Random) -> bytes:
    """Nodes, attributes, names, shapes and bytes of a graph; it stays a graph in protobuf, mostly."""
    if chance.random() < 0.1:
        return mutate(data, chance, kept(graphs))
    model = onnx.ModelProto.FromString(data)
    graph = model.graph
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        node, constant = chance.choice(graph.node), chance.choice(graph.initializer)
        names = [
            *(n for item in graph.node for n in item.output),
            *(c.name for c in graph.initializer),
            "images",
            "",
            "x",
        ]
        number = chance.choice((*NUMBERS[:13], -1, -(2**31), chance.randrange(9)))
        match chance.randrange(13):
            case 0 if node.input:
                node.input[chance.randrange(len(node.input))] = chance.choice(names)
            case 1 if node.output:
                node.output[0] = chance.choice(names)
            case 2 | 3 if node.attribute:
                _change_attribute(chance.choice(node.attribute), number, chance)
            case 4:
                node.op_type = chance.choice(
                    [*(item.op_type for item in graph.node), "Identity", "Expand", "Tile", "X"]
                )
            case 5:
                graph.node.remove(node)
            case 6:
                other = graph.node.add()
                other.CopyFrom(node)
            case 7 if constant.dims:
                constant.dims[chance.randrange(len(constant.dims))] = number
            case 8:
                constant.raw_data = mutate(constant.raw_data, chance)
            case 9:
                constant.data_type = chance.randrange(30)
            case 10:
                shape = np.array(numpy_helper.to_array(constant)) if constant.data_type < 12 else np.zeros(3)
                constant.CopyFrom(
                    numpy_helper.from_array(np.resize(shape, chance.choice(((), (3,), (1, 9), (0,)))), constant.name)
                )
            case 11:
                tensor = chance.choice([*graph.input, *graph.output]).type.tensor_type
                tensor.elem_type = chance.randrange(20)
                chance.choice(tensor.shape.dim or [tensor.shape.dim.add()]).dim_value = number
            case _:
                value = chance.choice(
                    (helper.make_attribute("group", number), helper.make_attribute("dilations", [number] * 2))
                )
                node.attribute.append(value)
    return model.SerializeToString()


def _change_attribute(attribute: onnx.AttributeProto, number: int, chance: random.Random) -> None:
    match chance.randrange(4):
        case 0 if attribute.ints:
            attribute.ints[chance.randrange(len(attribute.ints))] = number
        case 1:
            attribute.ints.append(number)
        case 2:
            attribute.type = chance.randrange(1, 14)
        case _:
            attribute.i = number


def read_graph(data: bytes, folder: Path) -> None:
    """A bundle with this graph and the right hash, and an answer of it."""
    from wideresnet.engines import EngineOptions, open_engine

    bundle = tiny_bundle()
    name = next((name for name in ("skip_norm", "postact") if NETWORKS[name].variant() and name.encode() in data), "")
    write_bundle(folder / "bundle", replace(bundle, graph=data))
    card = json.loads((folder / "bundle" / "card.json").read_text())
    head = onnx.ModelProto()
    try:
        head.ParseFromString(data)
    except Exception:  # protobuf's own
        head.Clear()
    stated = next((item.value for item in head.metadata_props if item.key == "wideresnet.variant"), "{}")
    card |= {"architecture": head.graph.name[:50] or name, "variant": json.loads(stated)}
    card["precision"] = "int8" if b"QuantizeLinear" in data else "fp32"
    (folder / "bundle" / "card.json").write_text(json.dumps(card))
    opened = read_bundle(folder / "bundle")
    open_engine(opened, options=EngineOptions(threads=1))(np.zeros((1, 32, 32, 3), np.uint8))


def foreign_graphs() -> Seeds:
    """Our graph as others write it: float32 [N, 3, S, S], batch norms, constants as nodes, MatMul and Add."""
    model = onnx.ModelProto.FromString(tiny_bundle().graph)
    graph, model.producer_name = model.graph, "other"
    graph.input[0].CopyFrom(helper.make_tensor_value_info("input.nchw", onnx.TensorProto.FLOAT, [1, 3, 32, 32]))
    constants = {constant.name: numpy_helper.to_array(constant).ravel() for constant in graph.initializer}
    nodes = []
    for node in graph.node[4:]:
        if node.name.endswith(".scaled"):
            x, name = node.input[0], node.name.removesuffix(".scaled")
            parts = (
                constants[f"{name}.scale"],
                constants[f"{name}.shift"],
                0 * constants[f"{name}.scale"],
                constants[f"{name}.scale"] ** 0,
            )
            names = [f"{name}.{part}" for part in "abcd"]
            graph.initializer.extend(map(numpy_helper.from_array, parts, names))
            nodes.append(helper.make_node("BatchNormalization", [x, *names], [name], epsilon=1e-5))
        elif not any(name.endswith(".scaled") for name in node.input):
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    other = onnx.ModelProto.FromString(model.SerializeToString())
    weight = numpy_helper.from_array(constants["fc.weight"].reshape(10, -1).T.copy())
    del other.graph.node[-1]
    other.graph.node.extend(
        [
            helper.make_node("Constant", [], ["w"], value=weight),
            helper.make_node("Identity", ["w"], ["w1"]),
            helper.make_node("MatMul", ["features", "w1"], ["product"]),
            helper.make_node("Add", ["product", "fc.bias"], ["logits"]),
        ]
    )
    return [model.SerializeToString(), other.SerializeToString()]


def read_foreign_graph(data: bytes, folder: Path) -> None:
    from wideresnet.graph.foreign import read_foreign
    from wideresnet.records import FileFacts
    from wideresnet.tasks.load.assumed_card import card_for
    from wideresnet.tasks.load.imported_onnx import input_side, read_onnx

    path = folder / "model.onnx"
    path.write_bytes(data)
    model = read_onnx(path)
    architecture, _ = read_foreign(model)
    card_for(path, architecture, side=input_side(model), facts=FileFacts())


def bundles() -> Seeds:
    """card.json and labels.txt; the graph is that of the tiny bundle."""
    from pydantic import TypeAdapter

    from wideresnet.datasets.labels import format_labels
    from wideresnet.records import ModelCard

    bundle = tiny_bundle()
    return [
        zip_of(
            [
                ("card.json", TypeAdapter(ModelCard).dump_json(bundle.card)),
                ("labels.txt", format_labels(bundle.labels).encode()),
            ]
        )
    ]


def mutate_bundle(data: bytes, chance: random.Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        card, labels = archive.read("card.json"), archive.read("labels.txt")
    if chance.random() < 0.6:
        card = mutate_json_text(card, chance)
    else:
        labels = mutate(labels, chance)
    return zip_of([("card.json", card), ("labels.txt", labels)])


def read_bundle_files(data: bytes, folder: Path) -> None:
    from wideresnet.tasks.load.describe import describe

    write_bundle(folder / "bundle", tiny_bundle())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        card, labels = archive.read("card.json"), archive.read("labels.txt")
    try:
        document = json.loads(card)
        hashes = {"labels.txt": labels, "model.onnx": tiny_bundle().graph}
        document["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in hashes.items()}
        card = json.dumps(document).encode()
    except (ValueError, TypeError, RecursionError):
        pass
    (folder / "bundle" / "card.json").write_bytes(card)
    (folder / "bundle" / "labels.txt").write_bytes(labels)
    read_bundle(folder / "bundle")
    describe(str(folder / "bundle"))


# ---- tables, labels, settings, archives


def tables() -> Seeds:
    return [
        b"path,label\na.png,3\nb.png,cat\n",
        b"image;class\na;1\nb;2\n",
        b"a.png 3\nb.png 5\n",
        b"ImageId,PredictionString\na,x 1 2 3 4\n",
        b"filename\twnid\tindex\na.png\tn01440764\t0\n",
        b"3\n5\n",
        b"path,label\n",
        "path,label\na.png,\u00b2\n".encode(),
        b"id|label\n\xe4|\x81\n",
        "path,label\nä.png,3\n".encode("utf-16"),
    ]


def read_tables(data: bytes, folder: Path) -> None:
    from wideresnet.datasets.ground_truth import labelled_by, labelled_index
    from wideresnet.errors import WrnError

    (folder / "images").mkdir()
    (folder / "images" / "a.png").write_bytes(grey_png(3))
    (folder / "a.png").write_bytes(grey_png(3))
    (folder / "t.csv").write_bytes(data)
    with contextlib.suppress(WrnError):
        labelled_index(folder / "t.csv", read_labels("cifar10"))
    labelled_by(folder / "images", folder / "t.csv", read_labels("cifar10"))


def label_files() -> Seeds:
    names = [*"abcdefghij"]
    return [
        "\n".join(names).encode(),
        json.dumps(names).encode(),
        json.dumps(dict(enumerate(names))).encode(),
        str(names).encode(),
        json.dumps({name: index for index, name in enumerate(names)}).encode(),
        b"index,name\n" + b"".join(b"%d,x%d\n" % (i, i) for i in range(10)),
        b"0: a\n1: b\n",
        b"n01440764 a\nn01443537 b\n",
        str(dict(enumerate(names))).encode(),
        json.dumps([["n01440764", "a"], ["n01443537", "b"]]).encode(),
    ]


def read_label_names(data: bytes, folder: Path) -> None:
    from wideresnet.datasets.labels.formats import read_label_file

    (folder / "labels.txt").write_bytes(data)
    read_label_file(folder / "labels.txt")


def documents() -> Seeds:
    """Reports, benchmarks, scores and a result.txt."""
    counts = {"counts": {"model": "m", "data": "d", "n": 2, "correct1": 1, "correct5": 2}}
    rows = {
        "rows": [
            {
                "engine": "openvino",
                "what": "engine",
                "model": "wide_resnet50_2",
                "precision": "fp32",
                "images_per_s": 9.0,
                "peak_share": 0.5,
            }
        ]
    }
    return [
        json.dumps(counts).encode(),
        json.dumps(rows).encode(),
        b'{"path":"a.png","label":3,"top":[3,1],"probability":0.5}\n',
    ]


def read_documents(data: bytes, folder: Path) -> None:
    from wideresnet.errors import WrnError
    from wideresnet.output.scores import read_scores
    from wideresnet.report.evaluation import read_evaluation
    from wideresnet.tasks.bench.recommend import read_rows
    from wideresnet.tasks.zoo.results import read_results

    for name in ("x.json", "x.jsonl", "x.csv", "x.txt"):
        (folder / name).write_bytes(data)
    readers: list[Callable[[], object]] = [
        lambda: read_evaluation(folder / "x.json"),
        lambda: list(read_scores(folder / "x.jsonl")),
        lambda: list(read_scores(folder / "x.csv")),
        lambda: read_results(folder / "x.txt"),
        lambda: read_rows(folder / "x.json"),
    ]
    for reader in readers:
        with contextlib.suppress(WrnError):
            reader()


def build_files() -> Seeds:
    return [
        b"name: wide_resnet50_2\nfrontend: {type: onnx, checkpoint: w.pth, shape: {input: [1, 3, 224, 224]}}\n"
        b"graph: {extra_ops: {type: softmax}}\nbackend: {dtype: int8, quantize: {calibrate_mode: percentile}}\n"
        b"dataset:\n  path: imagenet/calibration\n  sampler: {suffix: JPEG, get_data_num: 300}\n"
        b"  process_ops: [{type: DecodeImage}, {type: Resize, size: 256}, {type: CenterCrop, crop_size: 224},"
        b" {type: Normalize, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}, {type: ToTensor}]\n",
        b"model: [wrn_16_4.cifar10]\nport: 8000\ndeadline: 1.5\ncors: [http://a]\n",
        b"a: &x [1, 2]\nb: [*x, *x]\n",
        b'architecture = "wrn_16_4"\nepochs = 10\nlr = 0.1\n',
        b"name: 2024-01-01\nport: 0x10\n? [a]\n: !!set {b}\n",
    ]


def read_settings(data: bytes, folder: Path) -> None:
    from wideresnet.errors import WrnError
    from wideresnet.serve.settings import make_settings, read_file
    from wideresnet.tasks.zoo.buildfile import read_build_file
    from wideresnet.training.recipe import read_recipe

    file = folder / "settings"
    file.write_bytes(data)

    def build() -> None:
        build_file = read_build_file(file)
        build_file.preprocess(), build_file.target(), build_file.ignored()

    for reader in (build, lambda: make_settings(read_file(file)), lambda: read_recipe(file)):
        with contextlib.suppress(WrnError):
            reader()


def tars() -> Seeds:
    files = [
        ("a/1.png", grey_png(3)),
        ("a/1.cls", b"3"),
        ("a/2.png", grey_png(4)),
        ("a/2.json", b'{"label": 4}'),
        ("n" * 150, b"x"),
    ]
    out = []
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
            for name, data in files[: 4 if kind == tarfile.USTAR_FORMAT else 5]:
                member = tarfile.TarInfo(name)
                member.size, member.pax_headers = len(data), {"comment": "\u00e4"}
                archive.addfile(member, io.BytesIO(data))
        out.append(file.getvalue())
    return out


def mutate_tar(data: bytes, chance: random.Random) -> bytes:
    """Fields of headers, with the checksums that they then have; half of them compressed."""
    content = bytearray(mutate(data, chance, kept(tars)) if chance.random() < 0.5 else data)
    for start in range(0, len(content) - 511, 512):
        if content[start + 257 : start + 262] == b"ustar" and chance.random() < 0.3:
            field = chance.choice((0, 100, 124, 156, 157, 345, 386, 482))
            content[start + field : start + field + 12] = mutate(
                bytes(content[start + field : start + field + 12]), chance
            )[:12].ljust(12, b"\0")
            content[start + 148 : start + 156] = b" " * 8
            content[start + 148 : start + 156] = b"%06o\0 " % sum(content[start : start + 512])
    return gzip.compress(content) if chance.random() < 0.3 else bytes(content)


def read_tars(data: bytes, folder: Path) -> None:
    from wideresnet.datasets.cifar import detect_cifar
    from wideresnet.datasets.imagenet import open_source
    from wideresnet.datasets.tar import read_labelled_tar
    from wideresnet.errors import WrnError

    path = folder / "x.tar"
    path.write_bytes(data)
    detect_cifar(path)
    for reader in (lambda: open_source(path), lambda: read_labelled_tar(str(path))):
        with contextlib.suppress(WrnError):
            reader()


def matlab() -> Seeds:
    rows = [
        {"ILSVRC2012_ID": index + 1, "WNID": wnid, "num_children": 0.0}
        for index, wnid in enumerate(read_labels("imagenet").ids)
    ]
    return [write_structs("synsets", [dict(row) for row in rows], compressed=packed) for packed in (False, True)]


def read_matlab(data: bytes, _: Path) -> None:
    from wideresnet.datasets.imagenet import devkit_labels

    devkit_labels("1 2 3", data)


def parquets() -> Seeds:
    with tempfile.TemporaryDirectory() as name:
        path = write_hub(
            Path(name) / "x.parquet",
            {"image": [{"bytes": grey_png(3), "path": "a.png"}] * 4, "label": [1, 2, 3, 4]},
            [*"abcdefghij"],
        )
        return [path.read_bytes()]


def read_parquet(data: bytes, folder: Path) -> None:
    from wideresnet.datasets.parquet import parquet_rows

    (folder / "x.parquet").write_bytes(data)
    for _, source, _ in parquet_rows(str(folder / "x.parquet")):
        source.read(10**6)


# ---- requests


def requests() -> Seeds:
    """The method and target, a line of headers in JSON, and the body."""
    infer = json.dumps(
        {"inputs": [{"name": "images", "shape": [1, 32, 32, 3], "datatype": "UINT8", "data": [0] * 3072}]}
    )
    encoded = json.dumps(
        {
            "inputs": [{"name": "images", "shape": [1], "datatype": "BYTES", "data": ["aGVsbG8="]}],
            "outputs": [{"name": "logits"}],
        }
    )
    form = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a.png"\r\n\r\n' + grey_png(3) + b"\r\n--x--\r\n"
    binary = json.dumps(
        {"inputs": [{"name": "images", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 9}}]}
    )
    lines: list[tuple[str, dict[str, str], bytes]] = [
        ("POST /v1/classify?k=3", {}, grey_png(3)),
        ("POST /v1/classify?k=3&model=m", {"content-type": "multipart/form-data; boundary=x"}, form),
        ("POST /v1/classify", {"content-encoding": "gzip"}, gzip.compress(grey_png(3))),
        ("POST /v1/explain?class=3", {}, grey_png(3)),
        ("POST /v2/models/wrn_10_1.tiny/infer", {}, infer.encode()),
        ("POST /v2/models/wrn_10_1.tiny/infer", {}, encoded.encode()),
        (
            "POST /v2/models/wrn_10_1.tiny/infer",
            {"inference-header-content-length": str(len(binary))},
            binary.encode() + b"\5\0\0\0hello",
        ),
        ("POST /v2/repository/index", {}, b'{"ready": true}'),
        ("GET /v2/models/wrn_10_1.tiny/versions/1/config?k=1", {}, b""),
    ]
    return [f"{line}\n{json.dumps(headers)}\n".encode() + body for line, headers, body in lines]


def mutate_request(data: bytes, chance: random.Random) -> bytes:
    line, headers, body = data.split(b"\n", 2)
    match chance.randrange(6):
        case 0:
            word = chance.choice(
                (
                    b"9" * 5000,
                    b"0000000005" + b"9" * 5000,
                    b"-1",
                    b"%00",
                    b"%ff",
                    b"1e9",
                    b"",
                    b"\xc2\xb2",
                    b"k",
                    b"k=1&k=2",
                )
            )
            line = line + chance.choice((b"?k=", b"&k=", b"&class=", b"&model=", b"?class=", b"&x=", b"/")) + word
        case 1:
            fields = json.loads(headers)
            name = chance.choice(
                (
                    *fields,
                    "inference-header-content-length",
                    "content-encoding",
                    "content-type",
                    "accept",
                    "x-request-id",
                )
            )
            fields[name] = chance.choice(
                (
                    "9" * 5000,
                    "",
                    "-1",
                    "gzip",
                    "deflate, gzip",
                    "multipart/form-data; boundary=",
                    "x;y=z",
                    "application/json",
                    "0" * 30 + "5",
                )
            )
            headers = json.dumps(fields).encode()
        case 2 if body.startswith(b"{"):
            body = mutate_json_text(body, chance) if body.endswith(b"}") else mutate(body, chance)
        case _:
            body = mutate(body, chance, kept(images))
    return b"\n".join((line, headers, body))


@cache
def client() -> Any:
    from starlette.testclient import TestClient

    from serving import NAME, open_model
    from wideresnet.serve.app import make_app
    from wideresnet.serve.service import Service
    from wideresnet.serve.settings import ServeSettings

    service = Service(ServeSettings(max_bytes=10**6, threads=1))
    kept_open = tempfile.TemporaryDirectory()  # /v1/explain opens the bundle once more
    folder = Path(kept_open.name) / "tiny"
    write_bundle(folder, tiny_bundle())
    model = open_model(read_bundle(folder), FakeEngine())
    model.source = str(folder)
    service.set_models({NAME: model})
    app = TestClient(make_app(service), raise_server_exceptions=False)
    return app, kept_open


def read_request(data: bytes, _: Path) -> None:
    line, headers, body = data.split(b"\n", 2)
    method, _, target = line.decode("latin-1").partition(" ")
    safe = "".join(character if 32 < ord(character) < 127 else f"%{ord(character):02x}" for character in target)
    answer = client()[0].request(method, safe, headers=json.loads(headers), content=body)
    assert answer.status_code != 500, answer.text


def each(*mutations: Mutation) -> Mutation:
    return lambda data, chance: chance.choice(mutations)(data, chance)


TARGETS = {
    "images": Target(images, read_image, mutate_image),
    "safetensors": Target(headed, read_weights, mutate_headed_json),
    "pth": Target(pickles, read_weights, mutate_zip),
    "pickle": Target(bare_pickles, read_weights, mutate_pickle),
    "npz": Target(npz, read_weights, mutate_zip),
    "index": Target(indices, read_index, mutate_json_text),
    "config": Target(hubs, read_hub, mutate_json_text),
    "graph": Target(graphs, read_graph, mutate_graph, engine=True),
    "foreign": Target(foreign_graphs, read_foreign_graph, mutate_graph),
    "bundle": Target(bundles, read_bundle_files, mutate_bundle),
    "table": Target(tables, read_tables, of_bytes(tables)),
    "labels": Target(label_files, read_label_names, of_bytes(label_files)),
    "document": Target(documents, read_documents, each(mutate_json_text, of_bytes(documents))),
    "settings": Target(build_files, read_settings, of_bytes(build_files)),
    "tar": Target(tars, read_tars, mutate_tar),
    "matlab": Target(matlab, read_matlab, of_bytes(matlab)),
    "parquet": Target(parquets, read_parquet, of_bytes(parquets)),
    "request": Target(requests, read_request, mutate_request, engine=True),
}
