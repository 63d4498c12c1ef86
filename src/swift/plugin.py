"""What a plug-in adds to, in one place: `from swift.plugin import tuners, wires, verb`.

    methods tuners quants optimizers strategies engines scores rewards reports
                                                                  @tuners.add("mine"), a Tuner
    models families layouts wires call_styles presets datasets tasks box_styles troubles
                                                                  wires.add(Wire(...)), a row
    format verb reader adapter                                    @verb("mine", "what it does")

Beside each registry stands the class that its members extend (Method, Tuner, Quant, Optimizer,
Strategy, EngineOptions, Score, Reward, Report), whose docstring says what they must do. None of
this loads torch.
"""

from swift.chat.tools import Style
from swift.chat.tools import styles as call_styles
from swift.chat.wires import Wire, wires
from swift.cli.verbs import verb
from swift.core.errors import DataError, PlanError, Problem, UserError
from swift.dataset.adapters import adapter
from swift.dataset.boxes import BoxStyle, box_styles
from swift.dataset.formats import format
from swift.dataset.names import Listed, datasets
from swift.dataset.readers import reader
from swift.dataset.tasks import Task, tasks
from swift.dataset.troubles import Trouble, troubles
from swift.engine import EngineOptions, engines
from swift.method import Method, methods
from swift.model.names import Row, models
from swift.model.quirks import Known, layouts
from swift.model.structures import Structure, families
from swift.optimizer import Optimizer, optimizers
from swift.parallel import Strategy, strategies
from swift.quant import Quant, quants
from swift.recipe.presets import Preset, presets
from swift.report import Report, reports
from swift.reward import Reward, rewards
from swift.score import Score, scores
from swift.tuner import Tuner, tuners

__all__ = [
    "BoxStyle",
    "DataError",
    "EngineOptions",
    "Known",
    "Listed",
    "Method",
    "Optimizer",
    "PlanError",
    "Preset",
    "Problem",
    "Quant",
    "Report",
    "Reward",
    "Row",
    "Score",
    "Strategy",
    "Structure",
    "Style",
    "Task",
    "Trouble",
    "Tuner",
    "UserError",
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
    "reports",
    "rewards",
    "scores",
    "strategies",
    "tasks",
    "troubles",
    "tuners",
    "verb",
    "wires",
]
