"""The status page, its data by itself and the page in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from langmem_dspy.errors import InputError
from langmem_dspy.services.status_routes import page_url

_HERE = ("http://127.0.0.1:", "data:")
EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def _remember(client, text="I prefer dark mode", namespace=("memories", "ann")):
    client.store.put_item(list(namespace), key="1", value={"content": text})


def test_the_root_leads_to_the_page(server):
    with server.client() as http:
        answer = http.get("/")
        assert answer.is_redirect and answer.headers["location"] == "status"


def test_the_pages_are_small_and_let_nothing_else_run_or_load(server):
    paths = ["/status", "/status/status.js", "/status/page.js", "/status/page.css"]
    with server.client() as http:
        answers = [http.get(path) for path in [*paths, "/docs", "/status/docs.js"]]
    assert sum(len(answer.content) for answer in answers[: len(paths)]) < 30_000
    for answer in answers:
        rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
        assert rules["default-src"] == "'none'" and rules["script-src"] == rules["connect-src"] == "'self'"
        assert "unsafe" not in str(rules)
        assert "://" not in answer.text and "innerHTML" not in answer.text and "<script>" not in answer.text


def test_its_data_tells_memories_and_runs(serve):
    server = serve()
    with server.sdk() as client, server.client() as http:
        _remember(client)
        client.runs.wait(None, "echo", input={"secret": "pie"})
        client.runs.create(None, "echo", input={}, after_seconds=60)
        with pytest.raises(Exception, match="list"):
            client.runs.wait(None, "extract_memories", input={"messages": 5})
        data = http.get("/status/data").json()
        assert len(http.get("/status/data", params={"runs": 1}).json()["runs"]["recent"]) == 1
    assert data["store"]["items"] == 1 and data["store"]["bytes"] > 0
    assert data["store"]["largest"] == [{"namespace": ["memories", "ann"], "items": 1}]
    assert data["simulation"] and data["mlflow"] is None and data["tenant"] is None
    failed, waiting, done = data["runs"]["recent"]
    assert data["runs"]["pending"] == 1 and data["runs"]["running"] == 0
    assert (failed["status"], waiting["status"], done["status"]) == ("error", "pending", "success")
    assert failed["error"]["error"] == "MessagesError" and done["error"] is None and 0 <= done["seconds"] < 5
    assert "pie" not in str(data)


def test_each_key_shows_its_own_part(serve, keys):
    ann, bob = keys.create("ann"), keys.create("bob", ["teams", "bob"])
    server = serve(keys=keys)
    with server.sdk(ann) as client:
        _remember(client, namespace=["memories"])
        client.runs.wait(None, "echo", input={})
    with server.client() as stranger:
        assert stranger.get("/status").status_code == 200
        assert stranger.get("/status/data").status_code == 401
    with server.client(**{"x-api-key": bob}) as http:
        data = http.get("/status/data").json()
        assert data["tenant"] == {"name": "bob", "root": ["teams", "bob"]}
        assert data["store"] == {"items": 0, "namespaces": 0, "largest": []} and data["runs"]["recent"] == []
    with server.client(**{"x-api-key": ann}) as http:
        data = http.get("/status/data").json()
        assert data["store"] == {"items": 1, "namespaces": 1, "largest": [{"namespace": ["memories"], "items": 1}]}
        assert len(data["runs"]["recent"]) == 1


def test_a_search_tells_the_parts_of_its_scores_where_it_is_asked_to(serve):
    server = serve()
    with server.sdk() as client, server.client() as http:
        _remember(client)
        plain, explained = (
            http.post("/store/items/search", json={"query": "dark mode", "explain": explain}).json()["items"][0]
            for explain in (False, True)
        )
    assert explained.pop("explanation").keys() >= {"dense", "lexical"}
    assert plain == explained


@pytest.mark.parametrize(
    "url, link",
    [
        (None, None),
        ("sqlite:///mlflow.db", None),
        ("databricks", None),
        ("javascript:alert(1)", None),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("https://me:secret@mlflow.example:8443/x", "https://mlflow.example:8443/x"),
        ("http://[::1]:5000/", "http://[::1]:5000/"),
    ],
)
def test_the_link_to_mlflow_is_a_web_page_without_a_password(url, link):
    assert page_url(url) == link


def test_an_unreadable_url_of_mlflow_is_said_at_the_start():
    with pytest.raises(InputError, match="MLflow"):
        page_url("http://[::1")


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    """A browser, of this machine or of playwright's own; without either these tests are skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no browser: {error.message.splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def page(chromium) -> Iterator[object]:
    """A page that fails the test for every error, every refused script and every request to elsewhere."""
    made = chromium.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
    made.set_default_timeout(10_000)
    wrong: list[str] = []
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda said: wrong.append(said.text) if _is_wrong(said) else None)
    made.on("request", lambda asked: None if asked.url.startswith(_HERE) else wrong.append(asked.url))
    yield made
    made.close()
    assert wrong == []


def _is_wrong(said) -> bool:
    return said.type == "error" and not said.text.startswith("Failed to load resource")  # as a browser says of a 401


def test_a_memory_that_is_a_script_is_shown_and_does_not_run(serve, page):
    server = serve(mlflow="http://127.0.0.1:5000")
    with server.sdk() as client:
        _remember(client, f"dark {EVIL}", ["memories", EVIL.replace(".", "")])
        client.store.put_item(["memories", "ann"], key=EVIL, value={EVIL: EVIL})
    page.goto(server.url)
    page.get_by_label("What about?").fill("dark")
    page.keyboard.press("Enter")
    page.locator("li.found").first.wait_for()
    assert EVIL in page.locator("li.found").first.inner_text()
    assert page.title() == "langmem-dspy" and page.locator("img, main script").count() == 0
    assert "offline simulation" in page.locator("#simulated").inner_text()
    assert page.locator("#mlflow").get_attribute("href") == "http://127.0.0.1:5000"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_page_asks_for_the_key_and_never_puts_it_into_a_url(serve, keys, page):
    key = keys.create("ann")
    server = serve(keys=keys)
    with server.sdk(key) as client:
        _remember(client, namespace=["memories"])
    urls: list[str] = []
    page.on("request", lambda asked: urls.append(asked.url))
    page.goto(f"{server.url}/status")
    page.get_by_label("Key").fill("lmd_00000000_wrong")
    page.keyboard.press("Enter")
    page.get_by_role("alert").get_by_text("does not know that key").wait_for()
    page.get_by_label("Key").fill(key)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="memories").click()
    page.get_by_text("I prefer dark mode").wait_for()
    assert "ann" in page.locator("#who").inner_text()
    page.reload()
    page.locator("#numbers div").first.wait_for()
    page.get_by_role("button", name="Forget the key").click()
    page.get_by_label("Key").wait_for()
    assert page.get_by_text("I prefer dark mode").count() == 0
    assert urls and not any(key in url or "wrong" in url for url in urls)
    assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [0, 0, ""]


def test_the_page_is_used_by_the_keyboard_alone(serve, page):
    server = serve()
    with server.sdk() as client:
        _remember(client)
    page.goto(f"{server.url}/status")
    page.locator("#namespaces button").wait_for()
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "memories / ann":
            break
    page.keyboard.press("Enter")
    page.get_by_text("I prefer dark mode").wait_for()
    assert page.locator("#where").input_value() == '["memories","ann"]'


def test_the_page_says_when_the_server_is_gone(serve, page):
    server = serve()
    page.goto(f"{server.url}/status")
    page.locator("#numbers div").first.wait_for()
    page.route("**/status/data", lambda route: route.fulfill(status=500, json={"detail": "its log has the cause"}))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.get_by_role("alert").get_by_text("its log has the cause").wait_for()


def test_the_api_page_shows_every_operation_and_finds_one(server, page):
    page.goto(f"{server.url}/docs")
    page.locator(".operation").first.wait_for()
    with server.client() as http:
        paths = http.get("/openapi.json").json()["paths"]
    assert page.locator(".operation").count() == sum(map(len, paths.values()))
    page.get_by_label("Show only").fill("store/items/search")
    page.get_by_text("/store/items/search").click()
    page.get_by_text('"query": "UI preferences"').wait_for()
