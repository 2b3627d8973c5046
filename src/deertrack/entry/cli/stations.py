"""``deertrack stations``: cameras' places, zones and clocks."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from deertrack import wiring
from deertrack.entry.cli.console import counted, local_time, out, print_json, signed_time, simple_table
from deertrack.entry.cli.options import Home, Json, settings_for
from deertrack.formats.stations import parse_shift, read_stations
from deertrack.services import stations as service

app = typer.Typer(
    help="Stations: where cameras stand, their time zones, wrongly set clocks.", no_args_is_help=True
)

Name = Annotated[
    str, typer.Argument(metavar="STATION", help="The station's name, as `stations list` shows it.")
]


@app.command("list")
def list_command(json: Json = False, home: Home = None) -> None:
    """Show all stations with their photos and time zones."""
    with wiring.open_database(settings_for(home)) as db:
        rows = service.list_stations(db)
    if json:
        print_json(rows)
        return
    table = simple_table("Station", "Photos#", "First photo", "Last photo", "Zone", "Clock shift", "Place")
    for row in rows:
        zone = str(row["timezone"])
        place = "–" if row["latitude"] is None else f"{row['latitude']:.5f}, {row['longitude']:.5f}"
        first, last = (local_time(row[k], zone) for k in ("first_photo", "last_photo"))
        table.add_row(
            escape(str(row["name"])),
            str(row["photos"]),
            first,
            last,
            zone,
            signed_time(row["clock_shift"]),
            place,
        )
    out.print(table)


@app.command("set")
def set_command(
    name: Name,
    timezone: Annotated[
        str | None, typer.Option(metavar="TZ", help="IANA zone, e.g. America/Chicago.")
    ] = None,
    latitude: Annotated[
        float | None, typer.Option(min=-90, max=90, help="Decimal degrees, north is positive.")
    ] = None,
    longitude: Annotated[
        float | None, typer.Option(min=-180, max=180, help="Decimal degrees, east is positive.")
    ] = None,
    home: Home = None,
) -> None:
    """Change a station's place or time zone. A new zone moves the instants of all its photos.

    Example: deertrack stations set Creek --timezone America/Chicago --latitude 43.07 --longitude -89.40
    """
    with wiring.open_database(settings_for(home)) as db:
        station = service.set_station(db, name, latitude=latitude, longitude=longitude, timezone=timezone)
    out.print(
        f"{escape(station.name)}: zone {station.timezone}, place {station.latitude}, {station.longitude}"
    )


@app.command("shift")
def shift_command(
    name: Name,
    by: Annotated[
        str, typer.Option(metavar="TIME", help="How far to move it: +1h, -00:07:30, +2d, -3600 (seconds).")
    ],
    home: Home = None,
) -> None:
    """Repair a clock that was set wrongly: moves the time of every photo of a station, past and future.

    Shifts add up; the opposite shift takes one back.

    Example: deertrack stations shift Creek --by=-1h
    """
    shift = parse_shift(by)
    with wiring.open_database(settings_for(home)) as db:
        station = service.shift_clock(db, name, shift)
    out.print(
        f"{escape(station.name)}: camera clocks are corrected by {signed_time(station.clock_shift)} in total"
    )


@app.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(help="CSV: station, latitude, longitude, timezone, clock_shift.")],
    timezone: Annotated[
        str, typer.Option(metavar="TZ", help="Zone of new stations whose row names none.")
    ] = "UTC",
    home: Home = None,
) -> None:
    """Make or update stations from a CSV file. Empty fields leave what is known."""
    rows = read_stations(file)
    with wiring.open_database(settings_for(home)) as db:
        service.apply_stations(db, rows, timezone=timezone)
    out.print(f"Set {counted(len(rows), 'station')} as {escape(str(file))} says.", soft_wrap=True)
