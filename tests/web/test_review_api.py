"""The review over HTTP, on real photos: answers, collisions, undo, and candidates as things stand now."""

from typing import Any

import pytest
from fastapi.testclient import TestClient


@pytest.fixture
def client(nyala_client: TestClient) -> TestClient:
    return nyala_client


def waiting(client: TestClient, **asked: Any) -> list[dict[str, Any]]:
    answer = client.get("/api/v1/reviews", params={"limit": 1000, **asked})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def say(client: TestClient, sighting: int, verdict: str, /, etag: str | None = None, **more: Any) -> Any:
    headers = {"If-Match": etag} if etag else {}
    return client.post(
        f"/api/v1/sightings/{sighting}/answer", json={"verdict": verdict, **more}, headers=headers
    )


def test_the_queue_begins_with_what_tells_most_and_can_be_narrowed(client: TestClient) -> None:
    everything = waiting(client)
    values = [item["value"] for item in everything]
    assert len(values) > 20
    assert values == sorted(values, reverse=True)
    assert values[0] > 1  # bits
    times = [item["started_at"] for item in waiting(client, order="oldest")]
    assert times == sorted(times)
    middle = times[len(times) // 2]
    later = waiting(client, since=middle, order="oldest")
    earlier = waiting(client, until=middle, order="oldest")
    assert [item["started_at"] for item in [*earlier, *later]] == times
    assert waiting(client, station="Nowhere") == []
    assert waiting(client, sex="male") == []
    page = client.get("/api/v1/reviews", params={"limit": 2, "offset": 1}).json()
    assert [item["id"] for item in page["items"]] == [item["id"] for item in everything[1:3]]
    assert page["total"] == len(everything)
    assert page["minutes"] == pytest.approx(len(everything) * 12 / 60, abs=0.1)  # nobody answered yet
    number = everything[0]["likeliest"]["number"]
    thought_of = waiting(client, individual=number)
    assert everything[0]["id"] in {item["id"] for item in thought_of}
    assert len(thought_of) < len(everything)


def test_a_sighting_comes_with_its_photos_and_candidates_each_with_its_best_photo(client: TestClient) -> None:
    first = waiting(client)[0]
    answer = client.get(f"/api/v1/sightings/{first['id']}")
    seen = answer.json()
    assert answer.headers["ETag"] == f'"{seen["revision"]}"'
    assert len(seen["photos"]) == first["photos"]
    assert all(photo["file"].endswith(".JPG") for photo in seen["photos"])
    probabilities = [candidate["probability"] for candidate in seen["candidates"]]
    assert 1 <= len(probabilities) <= 9
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) + seen["new_probability"] <= 1.000001
    own = {photo["detection_id"] for photo in seen["photos"]}
    for candidate in seen["candidates"]:
        assert candidate["best"]["query_detection_id"] in own
        assert candidate["best"]["detection_id"] not in own
        assert candidate["last_seen"]["station"]
    assert client.get("/api/v1/sightings/99999").status_code == 404


def test_answers_take_effect_and_are_undone(client: TestClient) -> None:
    first, second, third, fourth = waiting(client)[:4]
    seen = client.get(f"/api/v1/sightings/{first['id']}")
    best = seen.json()["candidates"][0]
    same = say(client, first["id"], "same", seen.headers["ETag"], individual=best["number"]).json()
    assert same["sighting"]["individual"] == {"number": best["number"], "name": best["name"]}
    assert same["text"] == f"Sighting {first['id']} is {best['name']}"
    new = say(client, second["id"], "new", name="Kudu").json()
    assert new["sighting"]["individual"]["name"] == "Kudu"
    assert say(client, third["id"], "unidentifiable").json()["sighting"]["state"] == "unidentifiable"
    other = client.get(f"/api/v1/sightings/{fourth['id']}").json()["candidates"][0]
    ruled_out = say(client, fourth["id"], "not", individual=other["number"]).json()
    assert ruled_out["sighting"]["state"] == "review"
    offered = client.get(f"/api/v1/sightings/{fourth['id']}").json()["candidates"]
    assert other["number"] not in [c["number"] for c in offered]
    left = {item["id"] for item in waiting(client)}
    assert left.isdisjoint({first["id"], second["id"], third["id"]})
    assert fourth["id"] in left
    edits = client.get("/api/v1/edits").json()
    assert [item["kind"] for item in edits["items"]] == ["reject", "unidentifiable", "new", "assign"]
    for item in edits["items"]:
        undone = client.post(f"/api/v1/edits/{item['id']}/undo", json={}).json()
        assert (undone["reverted"] >= 1, undone["kept"]) == (True, [])
    assert {first["id"], second["id"], third["id"], fourth["id"]} <= {item["id"] for item in waiting(client)}
    again = client.get(f"/api/v1/sightings/{fourth['id']}").json()
    assert other["number"] in [c["number"] for c in again["candidates"]]


def test_a_new_individual_is_a_candidate_at_once(client: TestClient) -> None:
    first, *others = waiting(client)
    new = say(client, first["id"], "new", name="Kudu").json()["sighting"]["individual"]
    offered = [client.get(f"/api/v1/sightings/{item['id']}").json()["candidates"] for item in others[:20]]
    assert any(new["number"] in [c["number"] for c in candidates] for candidates in offered)


def test_of_two_reviewers_the_second_learns_what_the_first_did(client: TestClient) -> None:
    first = waiting(client)[0]
    seen = client.get(f"/api/v1/sightings/{first['id']}")
    one, two = (candidate["number"] for candidate in seen.json()["candidates"][:2])
    etag = seen.headers["ETag"]
    assert say(client, first["id"], "same", etag, individual=one).status_code == 200
    late = say(client, first["id"], "same", etag, individual=two)
    assert late.status_code == 412
    assert late.headers["content-type"] == "application/problem+json"
    assert late.json()["current"]["number"] == one
    now = client.get(f"/api/v1/sightings/{first['id']}")
    assert now.json()["individual"]["number"] == one
    assert say(client, first["id"], "same", now.headers["ETag"], individual=two).status_code == 200


def test_the_same_request_again_is_done_once(client: TestClient) -> None:
    first = waiting(client)[0]
    path, body = f"/api/v1/sightings/{first['id']}/answer", {"verdict": "new", "name": "Kudu"}
    answers = [client.post(path, json=body, headers={"Idempotency-Key": "k1"}).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert client.get("/api/v1/edits").json()["total"] == 1


def test_a_sex_that_a_person_sees_narrows_the_candidates(client: TestClient) -> None:
    first, second = waiting(client)[:2]
    rival = client.get(f"/api/v1/sightings/{first['id']}").json()["candidates"][0]["number"]
    assert client.patch(f"/api/v1/individuals/{rival}", json={"sex": "male"}).json()["sex"] == "male"
    changed = client.patch(f"/api/v1/sightings/{first['id']}", json={"sex": "female"}).json()
    assert rival not in [c["number"] for c in changed["candidates"]]
    assert client.post(f"/api/v1/edits/{changed['edit']}/undo", json={}).status_code == 200
    back = client.get(f"/api/v1/sightings/{first['id']}").json()
    assert (back["sex"], back["candidates"][0]["number"]) == ("unknown", rival)
    assert second["id"] in {item["id"] for item in waiting(client)}


@pytest.mark.parametrize(
    ("verdict", "more", "status"),
    [
        ("same", {}, 422),
        ("same", {"individual": 9999}, 404),
        ("maybe", {}, 422),
        ("new", {"name": " "}, 422),
        ("new", {"name": "12"}, 422),
        ("new", {"name": "x" * 81}, 422),
        ("not", {"individual": -1}, 422),
    ],
)
def test_what_is_no_answer_is_refused_and_changes_nothing(
    client: TestClient, verdict: str, more: dict[str, Any], status: int
) -> None:
    first = waiting(client)[0]
    answer = say(client, first["id"], verdict, **more)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert client.get("/api/v1/edits").json()["total"] == 0
    assert waiting(client)[0]["id"] == first["id"]


def test_after_many_answers_the_first_page_says_that_the_machine_could_learn(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deertrack.entry.web.pages.home._ENOUGH", 2)
    first, second = waiting(client)[:2]
    say(client, first["id"], "new")
    assert "reid calibrate" not in client.get("/").text
    say(client, second["id"], "new")
    assert "You gave 2 answers" in client.get("/").text


def test_merge_and_split_with_previews_over_http(client: TestClient) -> None:
    one, two = (item["number"] for item in client.get("/api/v1/individuals?limit=2").json()["items"])
    order = {"from": two, "into": one}
    preview = client.post("/api/v1/merges", json=order | {"dry_run": True}).json()
    assert preview["edit"] is None
    assert client.get(f"/api/v1/individuals/{two}").json()["status"] == "active"
    done = client.post("/api/v1/merges", json=order | {"expected": preview["expected"]}).json()
    merged = client.get(f"/api/v1/individuals/{two}").json()
    assert (merged["status"], merged["merged_into"]) == ("merged", one)
    stale = client.post("/api/v1/merges", json=order | {"expected": preview["expected"]})
    assert stale.status_code in {412, 422}
    met = client.get(f"/api/v1/individuals/{one}/sightings").json()
    assert met["total"] == preview["sightings"] + 1
    moved = client.post(
        "/api/v1/moves", json={"sightings": [met["items"][0]["id"]], "to": None, "name": "Half"}
    ).json()
    assert moved["to"]["name"] == "Half"
    assert client.post(f"/api/v1/edits/{moved['edit']}/undo", json={}).status_code == 200
    assert client.post(f"/api/v1/edits/{done['edit']}/undo", json={}).json()["kept"] == []
    assert client.get(f"/api/v1/individuals/{two}").json()["status"] == "active"


def test_individuals_are_described_and_nobody_is_overwritten(client: TestClient) -> None:
    number = client.get("/api/v1/individuals").json()["items"][0]["number"]
    path = f"/api/v1/individuals/{number}"
    etag = client.get(path).headers["ETag"]
    name = "<script>alert(1)</script>"
    said = {
        "name": name,
        "notes": "torn ear",
        "sex": "female",
        "age_class": "yearling",
        "aliases": ["Old", " Old "],
    }
    told = client.patch(path, json=said, headers={"If-Match": etag}).json()
    assert {key: told[key] for key in said} == said | {"aliases": ["Old"]}
    late = client.patch(path, json={"notes": "both ears"}, headers={"If-Match": etag})
    assert (late.status_code, late.json()["current"]["notes"]) == (412, "torn ear")
    assert client.get("/api/v1/individuals", params={"search": "<script>"}).json()["total"] == 1
    for wrong in ({"age_class": "calf"}, {"status": "merged"}, {"sex": "bull"}, {"name": ""}):
        assert client.patch(path, json=wrong).status_code == 422
    client.patch(path, json={"status": "retired"})
    assert client.get("/api/v1/individuals", params={"status": "retired"}).json()["total"] == 1
    offered = [client.get(f"/api/v1/sightings/{item['id']}").json() for item in waiting(client)[:5]]
    assert all(number != c["number"] for seen in offered for c in seen["candidates"])
