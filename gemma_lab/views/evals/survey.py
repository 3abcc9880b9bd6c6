"""A survey as a table of its facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base.html import Markup, bdi, definitions
from ..base.text import visible

if TYPE_CHECKING:
    from ...surveys.survey import Survey


def survey_html(survey: Survey) -> Markup:
    """Return the folder, model, progress and options of a survey.

    Parameters
    ----------
    survey
        A survey on disk, complete or not.
    """
    facts = [("folder", bdi(visible(str(survey.folder)))), ("partitions", f"{len(survey.partitions):,}")]
    facts += [(name.replace("_", " "), bdi(visible(str(value)))) for name, value in survey.manifest.items()]
    return definitions(facts, caption=visible(repr(survey)))
