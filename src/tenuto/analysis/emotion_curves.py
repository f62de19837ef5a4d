"""How far the attacks on single emotions push them, over the size of the perturbation."""

from __future__ import annotations

import pandas as pd

from tenuto.store.rows import emotion_names

DIRECTIONS = {"up": 1.0, "down": -1.0}
EMOTION_COLUMNS = ("run", "system", "seed", "emotion", "direction", "epsilon", "change")


def emotion_curves(rows: pd.DataFrame) -> pd.DataFrame:
    """How far each emotion was pushed by the attacks that push it alone, in rating units, columns `EMOTION_COLUMNS`.

    The change is the attacked minus the clean prediction of that emotion, the farthest of a clip's attempts, averaged
    over the test clips; downward changes are negative. Other emotions may move along.
    """
    parts: list[pd.DataFrame] = []
    keys = ["run", "system", "seed", "emotion", "direction", "epsilon"]
    pushed = rows[rows["epsilon"].notna() & (rows["split"] == "test")]
    for emotion in emotion_names(rows):
        for direction, sign in DIRECTIONS.items():
            own = pushed[pushed["objective"] == f"{emotion} {direction}"]
            if own.empty:
                continue
            change = sign * (own[f"adversarial_{emotion}"] - own[f"clean_{emotion}"])
            with_names = own.assign(emotion=emotion, direction=direction, change=change)
            farthest = with_names.groupby([*keys, "clip"], sort=False)["change"].max()
            means = sign * farthest.groupby(keys, sort=False).mean()
            pushes = means.reset_index()
            still = pushes.drop_duplicates(keys[:-1]).assign(epsilon=0.0, change=0.0)
            parts.append(pd.concat([still, pushes]).sort_values(["system", "seed", "epsilon"]))
    if not parts:
        return pd.DataFrame(columns=list(EMOTION_COLUMNS))
    return pd.concat(parts, ignore_index=True)[list(EMOTION_COLUMNS)]
