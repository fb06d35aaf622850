"""What the instances of a circuit mean: its settings say which are hashes, which numbers, and their scale.

EZKL puts them in one list: of the inputs a Poseidon hash (hashed), all values (public) or nothing (private),
then the same of the outputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from ezkl_calldata.errors import CalldataError
from ezkl_calldata.field import checked_felt, int_from_felt, real_from_fixed_point


@dataclass(frozen=True, slots=True)
class InstanceGroup:
    """Instances that belong together.

    Attributes:
        name: ``input_hash``, ``inputs``, ``output_hash`` or ``outputs``.
        num_instances: how many there are.
        scale: of the fixed point; 0 for integers, None for a hash.
    """

    name: str
    num_instances: int
    scale: int | None

    def value_of(self, felt: int) -> int | float:
        """Return the number that a felt of this group stands for: a hash as it is, an integer, or a real."""
        if self.scale is None:
            return checked_felt(felt)
        number = int_from_felt(felt)
        return number if self.scale == 0 else real_from_fixed_point(number, self.scale)


@dataclass(frozen=True, slots=True)
class InstanceLayout:
    """The groups of a circuit's instances, in order."""

    groups: tuple[InstanceGroup, ...]

    @property
    def num_instances(self) -> int:
        return sum(group.num_instances for group in self.groups)

    def values(self, instances: Sequence[int]) -> dict[str, list[int | float]]:
        """Return the numbers that the instances stand for, by group.

        Raises:
            CalldataError: there are more or fewer than the circuit has, or one is not in the field.
        """
        if len(instances) != self.num_instances:
            raise CalldataError(f"the circuit has {self.num_instances} instances, not {len(instances)}")
        values: dict[str, list[int | float]] = {}
        start = 0
        for group in self.groups:
            felts = instances[start : start + group.num_instances]
            values.setdefault(group.name, []).extend(group.value_of(felt) for felt in felts)
            start += group.num_instances
        return values


def instance_layout(settings: Mapping[str, Any]) -> InstanceLayout:
    """Return the layout that a circuit's ``settings.json`` describes.

    Raises:
        CalldataError: the settings are of an unknown form.
    """
    try:
        run_args = settings["run_args"]
        shapes = [list(shape) for shape in settings["model_instance_shapes"]]
        groups: list[InstanceGroup] = []
        for side, scales in (
            ("input", settings["model_input_scales"]),
            ("output", settings["model_output_scales"]),
        ):
            visibility = run_args[f"{side}_visibility"]
            if isinstance(visibility, Mapping) and "Hashed" in visibility:
                groups.append(InstanceGroup(f"{side}_hash", len(scales), None))
            elif visibility == "Public":
                groups += [InstanceGroup(f"{side}s", prod(shapes.pop(0)), int(scale)) for scale in scales]
            elif visibility != "Private":
                raise CalldataError(f"the {side}s have a visibility that is not known: {visibility!r}")
    except (KeyError, TypeError, IndexError) as error:
        raise CalldataError(f"the circuit's settings are of an unknown form: {error!r}") from error
    return InstanceLayout(tuple(groups))
