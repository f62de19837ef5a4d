"""Studies: systems x seeds x protocols on one data set.

`plan_study` lists what a study will do, `run_study` does it. Both are imported when first used, since they need torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenuto.study.engines import Local, Ray, StudyReport, run_study
    from tenuto.study.plan import Plan, Stage, plan_study, reductions
    from tenuto.study.stages import Outcome

__all__ = ["Local", "Outcome", "Plan", "Ray", "Stage", "StudyReport", "plan_study", "reductions", "run_study"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'tenuto.study' has no attribute '{name}'")
    from tenuto.study import engines, plan, stages

    return next(vars(module)[name] for module in (plan, stages, engines) if name in vars(module))


def __dir__() -> list[str]:
    return __all__
