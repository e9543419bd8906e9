"""Fusion while two pairs are live: a unit is judged by the pair that the line names, and by no score of the other."""

from hypothesis import given
from hypothesis import strategies as st

from daemon.messages import Bound, Judged
from daemon.units import Channel, FrameKey, UnitId, Verdict, ViewKey
from daemon.vision.fusion import Again, Command, Drop, Fusion, Judge, Looked
from daemon.vision.judging import Limit, Rules

BODY, CRIMP = ViewKey("body"), ViewKey("crimp")
VIEWS = {"body": BODY, "crimp": CRIMP}
RULES = Rules({view: {"mark": Limit(0.5, 0.5)} for view in VIEWS.values()}, {"mark": Channel.CRITICAL})
RECIPES = ("old", "new")
SCORES = {"old": 0.1, "new": 0.2}
UNITS = 4


def unit(number: int) -> UnitId:
    return UnitId(1, 0, number)


class Vision:
    """Infers by whatever recipe it is told, and again where fusion asks for it."""

    def __init__(self) -> None:
        self.judges = {recipe: Judge(f"bundle {recipe}", RULES) for recipe in RECIPES}
        self.fusion = Fusion(self.judges)
        for camera in VIEWS:
            self.fusion.session(camera, 1)
        self.judged: dict[UnitId, Judged] = {}
        self.again: list[Again] = []
        self.dropped: list[Drop] = []

    def look(self, key: FrameKey, recipe: str) -> None:
        self.hear(self.fusion.looked(Looked(key, 0, str(key), {"mark": SCORES[recipe]}, 0, 0, 1, recipe), 0))

    def bind(self, number: int, camera: str, recipe: str) -> None:
        self.hear(self.fusion.bound(Bound(unit(number), VIEWS[camera], FrameKey(camera, 1, number), recipe), 0))

    def hear(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Again):
                self.again.append(command)
                self.look(command.key, command.recipe)
            elif isinstance(command, Judged):
                assert command.unit not in self.judged
                self.judged[command.unit] = command
            else:
                self.dropped.append(command)


EVENTS = [(kind, number, camera) for kind in ("look", "bind") for number in range(1, UNITS + 1) for camera in VIEWS]


@given(
    st.permutations(EVENTS),
    st.lists(st.sampled_from(RECIPES), min_size=UNITS, max_size=UNITS),
    st.lists(st.sampled_from(RECIPES), min_size=len(EVENTS), max_size=len(EVENTS)),
)
def test_whatever_was_inferred_first_the_unit_s_own_pair_judges(
    events: list[tuple[str, int, str]], own: list[str], guesses: list[str]
) -> None:
    vision = Vision()
    for (kind, number, camera), guess in zip(events, guesses, strict=True):
        if kind == "look":
            vision.look(FrameKey(camera, 1, number), guess)
        else:
            vision.bind(number, camera, own[number - 1])
    assert vision.dropped == []
    for number, recipe in enumerate(own, 1):
        found = vision.judged[unit(number)]
        assert (found.recipe, found.bundle, found.verdict) == (recipe, f"bundle {recipe}", Verdict.ACCEPT)
        assert [view.scores for view in found.views] == [{"mark": SCORES[recipe]}] * 2
    looks = {
        (number, camera): guess for (kind, number, camera), guess in zip(events, guesses, strict=True) if kind == "look"
    }
    assert len(vision.again) == sum(guess != own[number - 1] for (number, _), guess in looks.items())
    assert vision.fusion.in_use == set()


def test_a_recipe_that_is_not_here_judges_nothing() -> None:
    vision = Vision()
    vision.look(FrameKey("body", 1, 1), "old")
    vision.bind(1, "body", "unknown")
    vision.look(FrameKey("crimp", 1, 1), "old")
    vision.bind(1, "crimp", "old")
    assert vision.judged == {} and {drop.key.camera for drop in vision.dropped} == {"body", "crimp"}


def test_two_recipes_for_one_unit_spoil_it() -> None:
    vision = Vision()
    for camera, recipe in (("body", "old"), ("crimp", "new")):
        vision.look(FrameKey(camera, 1, 1), "old")
        vision.bind(1, camera, recipe)
    assert vision.judged == {} and len(vision.dropped) == 2


def test_a_pair_stays_in_use_until_its_last_unit_is_judged() -> None:
    vision = Vision()
    vision.look(FrameKey("body", 1, 1), "old")
    vision.bind(1, "body", "old")
    assert vision.fusion.in_use == {"old"}
    vision.look(FrameKey("crimp", 1, 1), "new")
    vision.bind(1, "crimp", "old")
    assert vision.judged[unit(1)].recipe == "old" and vision.fusion.in_use == set()
