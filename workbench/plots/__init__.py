"""Pictures of rows, scores and masks: functions that draw on Axes and return them; nothing trains here.

A name has one colour and one marker in all of them (`workbench.plots.looks`).
"""

from workbench.intervals import student
from workbench.plots.areas import maps, matrix, regions
from workbench.plots.cost_bars import costs
from workbench.plots.figures import axes, bundle, show, style
from workbench.plots.groups import group_members
from workbench.plots.ladders import differences, ladder
from workbench.plots.layers import against_size, by_layer, ending, layer_bars, layer_densities
from workbench.plots.looks import REMOVED, markers, palette
from workbench.plots.seeds import by_samples, curves, predictions
from workbench.plots.training import timeline
from workbench.plots.weights import mask_overlap, mask_picture, network_drawing, score_histogram
from workbench.plots.words import describe

__all__ = [
    "REMOVED",
    "against_size",
    "axes",
    "bundle",
    "by_layer",
    "by_samples",
    "costs",
    "curves",
    "describe",
    "differences",
]
__all__ += [
    "ending",
    "group_members",
    "ladder",
    "layer_bars",
    "layer_densities",
    "maps",
    "markers",
    "mask_overlap",
    "mask_picture",
    "matrix",
]
__all__ += ["network_drawing", "palette", "predictions", "regions", "score_histogram", "show", "student", "style"]
__all__ += ["timeline"]
