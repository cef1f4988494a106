#!/usr/bin/env python3
"""Folds a CSV trace and asks a server whether it holds the same. Shares no code with the simulator or the server; changes nothing.

    tests/trace_fold.py day.csv.gz --url http://127.0.0.1:8080 --key KEY --columns cab=actor,timestamp=time,lat=lat,lon=lng,occupied=trip

Play the file first, unshifted, on an otherwise empty server: `waypost-sim trace`. Prints one line of JSON. Exit code 0: all is as the file says; 1: something
is missing, differs or is there that the file does not know; 2: nothing could be compared.
"""

import argparse
import csv
import datetime
import gzip
import http.client
import json
import sys
import threading
import urllib.parse

THREADS = 4
DIFFERENCES_TOLD = 20


def time_ms(text):
    """Unix seconds, Unix milliseconds (from 1e11 on) or ISO 8601 (UTC without an offset); None when it is none of these."""
    try:
        number = float(text)
        return round(number if abs(number) >= 1e11 else number * 1000)
    except ValueError:
        pass
    try:
        moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return round(moment.timestamp() * 1000)


def number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def is_place(lat, lng):
    return -90 <= lat <= 90 and -180 <= lng <= 180 and (lat, lng) != (0, 0)


def is_measurable(row):
    limits = {"speed": (0, 1000), "heading": (0, 360), "accuracy": (0, 100_000), "altitude": (-12_000, 100_000)}
    values = ((number(row.get(name)), low, high) for name, (low, high) in limits.items())
    return all(value is None or low <= value <= high for value, low, high in values)


def read(path, columns):
    """Rows as dicts by meaning; None for a row that is none."""
    opened = gzip.open(path, "rt", newline="") if path.endswith(".gz") else open(path, newline="")
    with opened as file:
        for raw in csv.DictReader(file):
            row = {meaning: (raw.get(header) or "").strip() for header, meaning in columns.items()}
            row["ms"] = time_ms(row["time"]) if row["time"] else None
            row["lat"], row["lng"] = number(row["lat"]), number(row["lng"])
            yield row if row["actor"] and None not in (row["ms"], row["lat"], row["lng"]) else None


def fold(rows):
    """Where each actor was last, and each delivery. Of several rows at one time any may be the last: the file alone does not tell."""
    drivers, deliveries, trips = {}, {}, {}
    counts = {"rows": 0, "unreadable": 0, "refused": 0}
    for row in rows:
        counts["rows"] += 1
        if row is None:
            counts["unreadable"] += 1
            continue
        actor, ms, place = row["actor"], row["ms"], (row["lat"], row["lng"])
        if is_place(*place) and is_measurable(row):
            last, places = drivers.get(actor, (None, set()))
            if last is None or ms > last:
                drivers[actor] = (ms, {place})
            elif ms == last:
                places.add(place)
        else:
            counts["refused"] += 1
        on = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(row.get("trip"))
        if on is None:
            continue
        before, opened = trips.get(actor, (on, None))
        if on and not before:
            opened = f"{actor}-{row['time']}"
            deliveries[opened] = {"driver": actor, "status": "assigned", "start": ms, "end": None, "pickup": place if is_place(*place) else None}
        elif before and not on and opened:
            # One that ends before it began was out of order: its status then follows from the order of times.
            ended = deliveries[opened]
            ended["end"], ended["status"] = ms, "delivered"
            opened = None
        trips[actor] = (on, opened)
    return drivers, deliveries, counts


class Server:
    """One connection, one key."""

    def __init__(self, url, key):
        self.host = urllib.parse.urlsplit(url).netloc
        self.headers = {"Authorization": f"Bearer {key}"}
        self.connection = http.client.HTTPConnection(self.host, timeout=30)

    def get(self, path):
        self.connection.request("GET", path, headers=self.headers)
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status not in (200, 404):
            raise OSError(f"GET {path} answers {answer.status}: {body[:200]!r}")
        return json.loads(body) if answer.status == 200 else None


def near(held, wanted):
    return held is not None and any(abs(held["lat"] - lat) < 2e-7 and abs(held["lng"] - lng) < 2e-7 for lat, lng in wanted)


def differs_driver(held, ms, places, status):
    if held is None:
        return "is missing"
    if not near(held.get("position"), places):
        return f"stands at {held.get('position')}, not at {sorted(places)}"
    if time_ms(held["position"]["time"]) != ms:
        return f"was there at {held['position']['time']}, not at {ms}"
    if held.get("status") != status:
        return f"is {held.get('status')}, not {status}"
    return None


def differs_delivery(held, wanted):
    if held is None:
        return "is missing"
    for name in ("status", "driver"):
        if held.get(name) != wanted[name]:
            return f"has the {name} {held.get(name)}, not {wanted[name]}"
    if held.get("assignment") != "explicit":
        return f"has the assignment {held.get('assignment')}"
    pickup = wanted["pickup"]
    if (held.get("pickup") is None) != (pickup is None) or (pickup and not near(held["pickup"], [pickup])):
        return f"has the pickup {held.get('pickup')}, not {pickup}"
    times = [wanted["start"]] * (2 if pickup else 1) + ([wanted["end"]] if wanted["end"] is not None else [])
    held_times = [time_ms(step["time"]) for step in held.get("history", [])]
    return None if held_times == sorted(times) else f"has the times {held_times}, not {sorted(times)}"


def ask_each(options, jobs, differences):
    """Asks for each entity by id, on a few connections."""

    def work(first):
        try:
            server = Server(options.url, options.key)
            for kind, id, differs in jobs[first::THREADS]:
                how = differs(server.get(f"/v1/{kind}/{urllib.parse.quote(id, safe='')}"))
                if how:
                    differences.append(f"{kind} {id} {how}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            failures.append(str(error))

    failures = []
    threads = [threading.Thread(target=work, args=(first,)) for first in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise OSError(failures[0])


def list_all(server):
    """Every delivery on the map, a page at a time."""
    listed, cursor = {}, ""
    while True:
        page = server.get(f"/v1/deliveries?bbox=-180,-90,180,90&limit=1000{cursor}")
        for feature in page["features"]:
            listed[feature["id"]] = feature
        if not page.get("next"):
            return listed
        cursor = "&cursor=" + urllib.parse.quote(page["next"], safe="")


def judge_list(listed, drivers, deliveries, differences):
    for id, feature in listed.items():
        wanted, held = deliveries.get(id), feature["properties"]
        if wanted is None:
            differences.append(f"list: {id} is in no row of the file")
            continue
        lng, lat = feature["geometry"]["coordinates"]
        if (held["status"], held["driver"]) != (wanted["status"], wanted["driver"]):
            differences.append(f"list: {id} is {held['status']} with {held['driver']}")
        elif wanted["driver"] in drivers and not near({"lat": lat, "lng": lng}, drivers[wanted["driver"]][1]):
            differences.append(f"list: {id} stands at {lat},{lng}")
    for id, wanted in deliveries.items():
        if wanted["status"] != "delivered" and wanted["driver"] in drivers and id not in listed:
            differences.append(f"list: {id} ({wanted['status']}) is not listed")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True, help="a key that may read")
    parser.add_argument("--columns", required=True, help="HEADER=FIELD,.. as for waypost-sim trace")
    options = parser.parse_args()
    columns = dict(pair.split("=") for pair in options.columns.split(","))
    drivers, deliveries, counts = fold(read(options.file, columns))
    status = {wanted["driver"]: "assigned" for wanted in deliveries.values() if wanted["status"] == "assigned"}

    def driver_job(id, ms, places):
        return "drivers", id, lambda held: differs_driver(held, ms, places, status.get(id))

    def delivery_job(id, wanted):
        return "deliveries", id, lambda held: differs_delivery(held, wanted)

    jobs = [driver_job(id, *last) for id, last in drivers.items()] + [delivery_job(*item) for item in deliveries.items()]
    differences = []
    try:
        ask_each(options, jobs, differences)
        listed = list_all(Server(options.url, options.key))
    except (OSError, http.client.HTTPException, ValueError) as error:
        print(f"trace_fold: {error}", file=sys.stderr)
        return 2
    judge_list(listed, drivers, deliveries, differences)
    verdict = {"verdict": "different" if differences else "equal", **counts, "drivers": len(drivers), "deliveries": len(deliveries)}
    verdict |= {"listed": len(listed), "differences": len(differences), "told": sorted(differences)[:DIFFERENCES_TOLD]}
    print(json.dumps(verdict))
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
