"""What a plug-in adds to, in one place: `from swift.plugin import tuners, wires, verb`.

    methods tuners quants optimizers strategies engines scores    @tuners.add("mine") on a class
    models families layouts wires call_styles presets datasets tasks box_styles troubles
                                                                  wires.add(Wire(...)), a row
    format verb reader adapter                                    @verb("mine", "what it does")

All are light: none loads torch.
"""

from swift.chat.tools import Style
from swift.chat.tools import styles as call_styles
from swift.chat.wires import Wire, wires
from swift.cli.verbs import verb
from swift.dataset.adapters import adapter
from swift.dataset.boxes import BoxStyle, box_styles
from swift.dataset.formats import format
from swift.dataset.names import Listed, datasets
from swift.dataset.readers import reader
from swift.dataset.tasks import Task, tasks
from swift.dataset.troubles import Trouble, troubles
from swift.engine import engines
from swift.method import methods
from swift.model.names import Row, models
from swift.model.quirks import Known, layouts
from swift.model.structures import Structure, families
from swift.optimizer import optimizers
from swift.parallel import strategies
from swift.quant import quants
from swift.recipe.presets import Preset, presets
from swift.score import scores
from swift.tuner import tuners

__all__ = [
    "BoxStyle",
    "Known",
    "Listed",
    "Preset",
    "Row",
    "Structure",
    "Style",
    "Task",
    "Trouble",
    "Wire",
    "adapter",
    "box_styles",
    "call_styles",
    "datasets",
    "engines",
    "families",
    "format",
    "layouts",
    "methods",
    "models",
    "optimizers",
    "presets",
    "quants",
    "reader",
    "scores",
    "strategies",
    "tasks",
    "troubles",
    "tuners",
    "verb",
    "wires",
]
