"""Local times as instants, and the zone of a phone number."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from roomkit.models.scheduling import LocalTime

__all__ = ["instant_of", "opening", "zone_of_number"]

_ZONES = """
20 Africa/Cairo|27 Africa/Johannesburg|212 Africa/Casablanca|213 Africa/Algiers|216 Africa/Tunis
218 Africa/Tripoli|221 Africa/Dakar|225 Africa/Abidjan|233 Africa/Accra|234 Africa/Lagos|237 Africa/Douala
244 Africa/Luanda|249 Africa/Khartoum|251 Africa/Addis_Ababa|254 Africa/Nairobi|255 Africa/Dar_es_Salaam
256 Africa/Kampala|258 Africa/Maputo|260 Africa/Lusaka|263 Africa/Harare|264 Africa/Windhoek
30 Europe/Athens|31 Europe/Amsterdam|32 Europe/Brussels|33 Europe/Paris|36 Europe/Budapest|39 Europe/Rome
40 Europe/Bucharest|41 Europe/Zurich|43 Europe/Vienna|44 Europe/London|45 Europe/Copenhagen
46 Europe/Stockholm|47 Europe/Oslo|48 Europe/Warsaw|49 Europe/Berlin|352 Europe/Luxembourg
353 Europe/Dublin|354 Atlantic/Reykjavik|355 Europe/Tirane|356 Europe/Malta|357 Asia/Nicosia
358 Europe/Helsinki|359 Europe/Sofia|370 Europe/Vilnius|371 Europe/Riga|372 Europe/Tallinn
373 Europe/Chisinau|374 Asia/Yerevan|375 Europe/Minsk|381 Europe/Belgrade|382 Europe/Podgorica
385 Europe/Zagreb|386 Europe/Ljubljana|387 Europe/Sarajevo|389 Europe/Skopje|420 Europe/Prague
421 Europe/Bratislava|423 Europe/Vaduz|51 America/Lima|57 America/Bogota|58 America/Caracas
501 America/Belize|502 America/Guatemala|503 America/El_Salvador|504 America/Tegucigalpa
505 America/Managua|506 America/Costa_Rica|507 America/Panama|591 America/La_Paz|592 America/Guyana
595 America/Asuncion|597 America/Paramaribo|598 America/Montevideo|63 Asia/Manila|65 Asia/Singapore
66 Asia/Bangkok|81 Asia/Tokyo|82 Asia/Seoul|84 Asia/Ho_Chi_Minh|852 Asia/Hong_Kong|853 Asia/Macau
855 Asia/Phnom_Penh|856 Asia/Vientiane|880 Asia/Dhaka|886 Asia/Taipei|90 Europe/Istanbul|91 Asia/Kolkata
92 Asia/Karachi|93 Asia/Kabul|94 Asia/Colombo|95 Asia/Yangon|960 Indian/Maldives|961 Asia/Beirut
962 Asia/Amman|963 Asia/Damascus|964 Asia/Baghdad|965 Asia/Kuwait|966 Asia/Riyadh|967 Asia/Aden
968 Asia/Muscat|971 Asia/Dubai|972 Asia/Jerusalem|973 Asia/Bahrain|974 Asia/Qatar|975 Asia/Thimphu
977 Asia/Kathmandu|992 Asia/Dushanbe|993 Asia/Ashgabat|994 Asia/Baku|995 Asia/Tbilisi|996 Asia/Bishkek
"""
"""Calling codes (ITU-T E.164) of countries with one zone (zone.tab of the IANA database). +44 and +39 are
those of their small neighbours too, which keep the same time; so is Svalbard for +47."""
_OF_CODE = dict(each.split(" ") for each in _ZONES.replace("\n", "|").split("|") if each)


def zone_of_number(number: str) -> str | None:
    """Return the zone of a phone number's country, None where that is unknown or has several."""
    digits = number.removeprefix("+") if number.startswith("+") else ""
    return next((zone for size in (3, 2) if (zone := _OF_CODE.get(digits[:size])) is not None), None)


def instant_of(local: LocalTime, zone: ZoneInfo, now: datetime) -> datetime:
    """Return when a local time is, in UTC: the next one after `now`, or that of its day."""
    if local.time is None and local.window is not None and local.on is None:
        return opening(local.window, zone, now)
    day = local.on or now.astimezone(zone).date()
    # With the offset before a change (fold 0), a skipped time comes out later by the skipped span.
    due = datetime.combine(day, local.at, zone).astimezone(UTC)
    if local.on is None and due <= now:
        due = datetime.combine(day + timedelta(days=1), local.at, zone).astimezone(UTC)
    return due if local.window is None else opening(local.window, zone, due)


def opening(window: tuple[time, time], zone: ZoneInfo, at: datetime) -> datetime:
    """Return `at` if a window is open then, else when it opens next, in UTC."""
    opens, closes = window
    local = at.astimezone(zone)
    clock = local.time()
    is_open = opens <= clock < closes if opens < closes else clock >= opens or clock < closes
    if is_open:
        return at
    day = local.date() if clock < opens else local.date() + timedelta(days=1)
    return datetime.combine(day, opens, zone).astimezone(UTC)
