"""Looking into the catalogue: the whole at a glance, individuals, their names."""

from dataclasses import dataclass

from deertrack.storage import catalogue
from deertrack.storage.catalogue import Individual, Sighting
from deertrack.storage.db import Database


@dataclass(frozen=True, slots=True)
class Dossier:
    """An individual and all its sightings, in time."""

    individual: Individual
    sightings: tuple[Sighting, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """The catalogue in numbers, its embedding version, and every (file, reason) that it could not use.

    ``drawn``: it holds photos of the drawn sample herd, which must be said wherever they are shown.
    """

    totals: dict[str, int]
    version: str | None
    problems: list[tuple[str, str]]
    drawn: bool


def overview(db: Database) -> Overview:
    """The catalogue at a glance."""
    with db.transaction() as connection:
        return Overview(
            catalogue.totals(connection),
            catalogue.get_setting(connection, catalogue.ACTIVE_VERSION),
            catalogue.list_problems(connection),
            catalogue.holds_drawn_photos(connection),
        )


def list_individuals(db: Database, *, status: str = "active") -> list[Individual]:
    """Individuals by number; ``status`` is active, retired, merged or all."""
    with db.transaction() as connection:
        return catalogue.list_individuals(connection, status=status)


def show_individual(db: Database, name_or_number: str) -> Dossier:
    """One individual with its sightings.

    Raises:
        NotFoundError: nobody has that name or number.
    """
    with db.transaction() as connection:
        individual = catalogue.find_individual(connection, name_or_number)
        return Dossier(individual, tuple(catalogue.list_sightings(connection, deer_id=individual.id)))


def rename(db: Database, name_or_number: str, new_name: str, *, actor: str) -> tuple[Individual, Individual]:
    """Give an individual another name; returns it before and after. The old name stays in the events.

    Raises:
        NotFoundError: nobody has that name or number.
        InputError: the new name is empty, too long, a number, or taken.
    """
    with db.transaction() as connection:
        before = catalogue.find_individual(connection, name_or_number)
        catalogue.rename_individual(connection, before, new_name, actor=actor)
        return before, catalogue.find_individual(connection, str(before.number))
