"""Today's models: ComfyUI's own graphs, with Scaling Cache in them and with this pack's prompts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from cache_core.decide.policies import ENOUGH

from .file_format import Graph, Link, Node, is_own, link
from .graphs import TEMPLATES, fewest_of, scaling_cache, scaling_name, scaling_note
from .official import SAMPLERS, Part, Place, Source, Unfolded, index

# The oldest host that this pack runs on.
OLDEST = (0, 3, 60)
PROMPTS = ("text", "prompt")
NEGATIVE = "blurry, watermark, low quality"
# What every host knows of nodes that newer ones give more inputs.
PLAIN = {
    "SaveImageAdvanced": ("SaveImage", ("images",), {"filename_prefix": "scaling_cache"}),
    "SaveImage": ("SaveImage", ("images",), {"filename_prefix": "scaling_cache"}),
    "SaveVideo": (
        "SaveVideo",
        ("video",),
        {"filename_prefix": "video/scaling_cache", "format": "auto", "codec": "auto"},
    ),
    "CreateVideo": ("CreateVideo", ("images", "audio", "fps"), {}),
    "LoadImage": ("LoadImage", (), {"image": "example.png"}),
    "CFGNorm": ("CFGNorm", ("model", "strength"), {}),
}
# What a sampler is made of stands in its column.
SAMPLING = ("RandomNoise", "KSamplerSelect", "Sampler", "Guider", "Scheduler", "ManualSigmas")


@dataclass(frozen=True)
class Model:
    """A model with a template.

    Attributes:
        name: as people call it.
        official: ComfyUI's template.
        prompt: what this pack's template asks for.
        hint: what more the note has to say.
    """

    name: str
    official: str
    prompt: str
    hint: str = ""

    @property
    def oldest(self) -> str:
        """The oldest version of the host that ComfyUI gives for the template."""
        return index()[self.official]["minComfyUIVersion"]


PAIR = (
    "Each of the two models samples 10 of the steps and has a cache of its own: set both alike. With a "
    "4-step LoRA there is nothing to predict: leave the nodes out.\n\n"
)
TURBO = (
    "With the 8-step turbo LoRA 6 steps are computed; with the 4-step one leave the node out.\n\n"
)
NOISY = (
    "The sampler adds noise at each step, which cannot be predicted: *euler* in its place comes nearer "
    "at the same speed.\n\n"
)
TODAY = (
    Model(
        "Qwen-Image 2.1",
        "image_qwen_image_2_1_t2i",
        "a ceramicist glazes a tall vase in a bright workshop, shelves of pots behind her",
    ),
    Model("Qwen-Image 2.1 Edit", "image_qwen_image_2_1_image_edit", "turn the day into night"),
    Model(
        "Qwen-Image 2512",
        "image_qwen_Image_2512",
        'a bakery at dawn, a hand-painted sign over the door reads "FRESH BREAD"',
    ),
    Model(
        "Qwen-Image-Edit 2511",
        "image_qwen_image_edit_2511",
        "turn the day into night",
        hint="With the 4-step LoRA there is nothing to predict: leave the node out.\n\n",
    ),
    Model(
        "Z-Image",
        "image_z_image",
        "a fisherwoman mends a net on a quay, pastel houses, sea wind",
        hint="Z-Image Turbo samples 8 steps and has a template of its own.\n\n",
    ),
    Model(
        "Z-Image Turbo",
        "image_z_image_turbo",
        "a baker carries a tray of bread through a narrow alley, early light, steam",
        hint="Its sampler looks back at earlier steps, which leaves the least to gain: with *euler* "
        "in its place a prediction comes nearer.\n\n",
    ),
    Model(
        "Krea 2 Turbo",
        "image_krea2_turbo_t2i",
        "an old cinema at dusk, its sign half lit, one taxi waiting in the rain",
    ),
    Model(
        "FLUX.2 dev",
        "image_flux2_text_to_image",
        "a watchmaker at his bench, brass gears, one lamp, seen from above",
    ),
    Model(
        "FLUX.2 Klein 9B base",
        "image_flux2_text_to_image_9b",
        "a tram stop in the rain at night, neon in the puddles, one umbrella",
    ),
    Model(
        "FLUX.3 Klein",
        "image_flux3_klein_t2i",
        "a lighthouse on a cliff, storm clouds, warm light in the window",
    ),
    Model("FLUX.3 Klein Edit", "image_flux3_klein_image_edit", "turn the day into night"),
    Model(
        "Wan 2.2 I2V 14B",
        "video_wan2_2_14B_i2v",
        "the camera pulls back slowly, leaves stir",
        hint=PAIR,
    ),
    Model(
        "Anima", "image_anima_base_v1", "a girl with a paper lantern on a bridge, fireflies, night"
    ),
    Model(
        "Kandinsky 5 Image",
        "image_kandinsky5_t2i",
        "a mountain hut under the first snow, smoke from the chimney, blue hour",
    ),
    Model(
        "LTX-2 dev",
        "video_ltx2_t2v",
        "a street musician plays the accordion under an arch, footsteps pass, evening light",
        hint="Scaling Cache is on the first pass; the second has 3 steps and needs none. " + NOISY,
    ),
    Model(
        "MiniMax H3 I2V",
        "video_minimax_h3_i2v",
        "a slow push in, leaves stir, wind and distant bells",
        hint=TURBO,
    ),
    Model(
        "MiniMax H3 reference",
        "video_minimax_h3_r2v",
        "<Picture 1> comes alive: a slow push in, leaves stir, wind and distant bells",
        hint=TURBO,
    ),
    Model(
        "SDXL",
        "image_sdxl_simple",
        "a glass bottle on a beach with a galaxy inside, evening light",
    ),
    Model(
        "FLUX.1 Kontext",
        "flux_kontext_dev_basic",
        "make it a winter evening, keep everything else",
    ),
    Model(
        "Chroma1-HD",
        "image_chroma_text_to_image",
        "a heron in tall reeds at first light, mist over the water, photograph",
    ),
    Model(
        "HiDream I1 Full",
        "hidream_i1_full",
        "an old tram crosses a flooded square, reflections, overcast morning",
    ),
    Model(
        "SD 3.5 Large",
        "sd3.5_simple_example",
        "a fox asleep in a red armchair beside a tall window, snow outside",
    ),
    Model(
        "Wan 2.2 T2V 14B",
        "video_wan2_2_14B_t2v",
        "a kite rises over dunes, a child runs below, wind in the grass",
        hint=PAIR,
    ),
    Model(
        "Wan 2.2 5B",
        "video_wan2_2_5B_ti2v",
        "an accordion player on a night train platform, slow push in, film grain",
    ),
    Model(
        "Wan 2.1 I2V 14B",
        "image_to_video_wan",
        "the camera pulls back slowly, leaves stir",
    ),
    Model(
        "HunyuanVideo",
        "hunyuan_video_text_to_video",
        "rain on a harbour at night, a fishing boat leaves, lights in the water",
    ),
    Model(
        "HunyuanVideo 1.5",
        "video_hunyuan_video_1.5_720p_t2v",
        "a gardener waters tomatoes in a greenhouse, sun through wet glass",
    ),
)


def too_new(template: str, host: str) -> bool:
    """Whether a template is of a model that may be newer than a version of the host."""
    named = [model.oldest for model in TODAY if scaling_name(model.name) == template]
    return any(_numbers(oldest) > _numbers(host) for oldest in named)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def today_graph(model: Model) -> Graph:
    """The official graph of a model, with Scaling Cache before each sampler of 8 steps or more."""
    official = Unfolded(model.official)
    if official.nameless:
        raise ValueError(f"{model.official}: SPELLED of official.py lacks {official.nameless}")
    parts = _reached(_with_prompts(official, model.prompt))
    long = {place: steps for place, steps in official.samplers().items() if steps >= ENOUGH}
    names = _names(parts)
    caches: dict[Source, str] = {}
    for place in long:
        user = place if "model" in parts[place].inputs else parts[place].inputs["guider"].node
        caches.setdefault(parts[user].inputs["model"], f"cache{len(caches) + 1 if caches else ''}")
    cached = {user for place in long for user in (place, _guider(parts[place])) if user}
    nodes: dict[str, Node] = {}
    for place, part in parts.items():
        inputs = {key: _value(value, names) for key, value in part.inputs.items()}
        if place in cached and "model" in inputs:
            inputs["model"] = link(caches[part.inputs["model"]])
        nodes[names[place]] = _node(part, inputs)
    for source, name in caches.items():
        nodes[name] = scaling_cache(_value(source, names))
    nodes = {name: replace(node, column=_column(name, nodes)) for name, node in nodes.items()}
    few = fewest_of((node.inputs for node in nodes.values()), len(caches) > 1)
    needs = f"ComfyUI names {model.oldest} as the oldest version for this model.\n\n"
    hint = f"{model.hint}{needs if _numbers(model.oldest) > OLDEST else ''}"
    note = scaling_note(model.name, sum(long.values()), few, hint)
    return Graph(scaling_name(model.name), TEMPLATES, _in_order(nodes), note)


def _with_prompts(official: Unfolded, prompt: str) -> dict[Place, Part]:
    """The parts, in the form that every host knows and with this pack's texts."""
    parts = {}
    for place, part in official.parts.items():
        kind, kept, fixed = PLAIN.get(part.kind, (part.kind, tuple(part.inputs), {}))
        inputs = {**{key: part.inputs[key] for key in kept if key in part.inputs}, **fixed}
        for key in set(PROMPTS) & inputs.keys():
            if not _is_negative(place, official.parts):
                inputs[key] = prompt
            elif inputs[key]:
                inputs[key] = NEGATIVE
        for key in {"seed", "noise_seed"} & inputs.keys():
            inputs[key] = 1
        parts[place] = Part(kind, {k: _rounded(v) for k, v in inputs.items()}, part.models)
    return parts


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


def _is_negative(place: Place, parts: dict[Place, Part]) -> bool:
    """Whether a text ends in a negative conditioning alone."""
    found, todo = set(), [place]
    while todo:
        here = todo.pop()
        for user, part in parts.items():
            for key, value in part.inputs.items():
                if isinstance(value, Source) and value.node == here:
                    if key in ("positive", "negative"):
                        found.add(key)
                    else:
                        todo.append(user)
    return found == {"negative"}


def _reached(parts: dict[Place, Part]) -> dict[Place, Part]:
    """The parts that a saved file needs, those that give first."""
    kept: dict[Place, Part] = {}

    def keep(place: Place) -> None:
        for value in parts[place].inputs.values():
            if isinstance(value, Source) and value.node not in kept:
                keep(value.node)
        kept[place] = parts[place]

    for place, part in parts.items():
        if part.kind.startswith("Save"):
            keep(place)
    return kept


def _guider(sampler: Part) -> Place | None:
    guider = sampler.inputs.get("guider")
    return guider.node if isinstance(guider, Source) else None


def _names(parts: dict[Place, Part]) -> dict[Place, str]:
    """A name for each part: its kind, with a number if there are several."""
    names: dict[Place, str] = {}
    for place, part in parts.items():
        same = sum(parts[other].kind == part.kind for other in names)
        names[place] = f"{part.kind}{same + 1 if same else ''}"
    return names


def _value(value: Any, names: dict[Place, str]) -> Any:
    return link(names[value.node], value.slot) if isinstance(value, Source) else value


def _node(part: Part, inputs: dict[str, Any]) -> Node:
    title, size = "", (380 if part.models else 320, 0)
    if text := set(PROMPTS) & inputs.keys():
        negative = inputs[text.pop()] in ("", NEGATIVE)
        # Low where there is little else in the node.
        low = 130 if negative and part.kind == "CLIPTextEncode" else 0
        title, size = "Negative Prompt" if negative else "Prompt", (400, low)
    if part.kind in ("SaveImage", "SaveVideo", "LoadImage"):
        size = (420, 470) if part.kind == "SaveImage" else (380, 340)
    return Node(part.kind, 0, inputs, size, title, part.models)


def _column(name: str, nodes: dict[str, Node]) -> int:
    """From left to right: what is loaded, what is prepared, a sampler, what follows it, and so on."""
    node = nodes[name]
    if any(word in node.kind for word in SAMPLING) and node.kind not in SAMPLERS:
        (user, *_) = [each for each, other in nodes.items() if _takes(other, name)]
        return _column(user, nodes)
    sources = [source for source in node.inputs.values() if isinstance(source, tuple)]
    before = max((_samplers_before(source, nodes) for source in sources), default=0)
    return 2 * before + (2 if node.kind in SAMPLERS else 1) if sources else 0


def _samplers_before(source: Link, nodes: dict[str, Node]) -> int:
    node = nodes[source[0]]
    sources = [value for value in node.inputs.values() if isinstance(value, tuple)]
    before = max((_samplers_before(each, nodes) for each in sources), default=0)
    return before + (node.kind in SAMPLERS)


def _takes(node: Node, name: str) -> bool:
    return any(isinstance(value, tuple) and value[0] == name for value in node.inputs.values())


def _in_order(nodes: dict[str, Node]) -> dict[str, Node]:
    return dict(sorted(nodes.items(), key=lambda item: (item[1].column, not is_own(item[1]))))
