"""The page of the service in a real browser, as people use it."""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from urllib.request import urlopen

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from browser import CHROMIUM, Browser, browsing
from fakes import tiny_bundle
from wideresnet import serve
from wideresnet.bundle import write_bundle
from wideresnet.images.decode import decode
from wideresnet.serve.app import make_app
from wideresnet.serve.http.errors import ERROR_STATUS
from wideresnet.serve.http.limits import LimitedConnection
from wideresnet.serve.models import open_models
from wideresnet.serve.service import Service
from wideresnet.serve.settings import ServeSettings

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium is installed")

EXAMPLES = Path(__file__).parents[2] / "examples"
CAT, DOG = EXAMPLES / "cat.png", EXAMPLES / "dog.jpg"
QUIET = "[...document.querySelectorAll('.answer')].every(each => each.getAttribute('aria-busy') === 'false')"
BEST = "[...document.querySelectorAll('.card')].map(each => each.querySelector('.label')?.textContent)"
LAYER = "document.querySelector('.layer')"


class Site:
    """A service in this process. ``bodies``: the request bodies of /v1/classify."""

    def __init__(self, service: Service, port: int) -> None:
        self.service, self.address = service, f"http://127.0.0.1:{port}/"
        self.bodies: list[bytes] = []

    def recording(self, app: ASGIApp) -> ASGIApp:
        async def recorded(scope: Scope, receive: Receive, send: Send) -> None:
            pieces = []

            async def heard():
                message = await receive()
                if message["type"] == "http.request":
                    pieces.append(message["body"])
                return message

            await app(scope, heard, send)
            if scope.get("path") == "/v1/classify":
                self.bodies.append(b"".join(pieces))

        return recorded


@contextmanager
def serving(service: Service, around: Callable[[ASGIApp], ASGIApp] = lambda app: app) -> Iterator[Site]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        site = Site(service, listener.getsockname()[1])
        app = site.recording(around(make_app(service)))
        config = uvicorn.Config(app, http=LimitedConnection, ws="none", lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield site
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service with the model inside the package, and a second one."""
    folder = tmp_path_factory.mktemp("page")
    write_bundle(folder / "tiny", tiny_bundle())
    settings = ServeSettings(models=("wrn_16_4.cifar10", f"tiny={folder / 'tiny'}"), threads=1, max_bytes=1_000_000)
    service = Service(settings)
    service.set_models(open_models(settings, lambda _: None))
    with serving(service) as site:
        yield site


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def browser(window: Browser, site: Site) -> Browser:
    """The page at a first visit."""
    window.look(1200)
    window.open(site.address)
    window.run("localStorage.clear(), sessionStorage.clear()")
    visit(window, site.address)
    return window


def visit(browser: Browser, address: str) -> None:
    browser.open(address)
    browser.until("document.getElementById('model').options.length")
    browser.asked.clear()
    browser.errors.clear()


def classify(browser: Browser, *files: Path) -> None:
    browser.choose("#files", list(files))
    browser.until(f"document.querySelectorAll('.card').length >= {len(files)} && {QUIET}")


def test_images_are_answered_and_a_bad_one_shows_its_error(browser: Browser, site: Site, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("hello")
    site.bodies.clear()
    classify(browser, CAT, bad, DOG)
    assert browser.run(BEST) == ["cat", None, "dog"]
    assert browser.run("document.querySelectorAll('.card')[0].querySelectorAll('.row').length") == 5
    percentage = browser.run("document.querySelector('.probability').textContent")
    filled = browser.run("getComputedStyle(document.querySelector('.bar'), '::before').width")
    width = browser.run("document.querySelector('.bar').clientWidth")
    assert float(percentage.split()[0]) / 100 == pytest.approx(float(filled.removesuffix("px")) / width, abs=0.01)
    problem = browser.run("document.querySelectorAll('.card')[1].querySelector('.problem').innerText")
    assert "not an image but text" in problem
    assert "give an image: JPEG" in problem
    assert "Try again" not in problem
    assert browser.run("document.getElementById('count').textContent") == "2 of 3 images answered, 1 failed"
    assert set(site.bodies) == {CAT.read_bytes(), DOG.read_bytes(), b"hello"}
    assert [error for error in browser.errors if "400" not in error] == []
    assert all(url.startswith((site.address, f"blob:{site.address}")) for url in browser.asked), browser.asked


def test_the_evidence_lies_over_the_photograph_where_the_crop_was(browser: Browser) -> None:
    classify(browser, CAT)
    browser.run("document.querySelector('input[value=evidence]').click()")
    browser.until(f"!{LAYER}.hidden && {LAYER}.complete")
    assert browser.run(f"{LAYER}.src").startswith("data:image/jpeg")
    assert "cat" in browser.run("document.querySelector('figcaption').textContent")
    box = "(r => [r.left, r.top, r.right, r.bottom])(document.querySelector('{}').getBoundingClientRect())"
    photo, layer = (browser.run(box.format(selector)) for selector in (".photo", ".layer"))
    height, width, _ = decode(CAT.read_bytes()).shape
    assert width > height                          # so that the crop is as high as the photograph, in its middle
    scale = (photo[3] - photo[1]) / height
    assert layer[1::2] == pytest.approx(photo[1::2], abs=1)
    assert layer[2] - layer[0] == pytest.approx(height * scale, abs=height * scale / 16)
    assert layer[0] - photo[0] == pytest.approx(photo[2] - layer[2], abs=height * scale / 16)
    browser.run("document.querySelectorAll('.row')[1].click()")
    second = browser.run("document.querySelectorAll('.label')[1].textContent")
    browser.until(f"document.querySelector('figcaption').textContent.includes('{second}')")
    pressed = browser.run("[...document.querySelectorAll('.row')].map(each => each.getAttribute('aria-pressed'))")
    assert pressed == ["false", "true", "false", "false", "false"]
    maps = [url for url in browser.asked if "v1/explain" in url]
    assert all(re.search("[?&]class=%23[0-9]", url) for url in maps), maps
    browser.run("document.querySelector('input[value=crop]').click()")
    browser.until(f"{LAYER}.src.startsWith('data:image/png')")
    assert "32 × 32" in browser.run("document.querySelector('figcaption').textContent")
    browser.run("document.querySelector('input[value=photo]').click()")
    browser.until(f"{LAYER}.hidden")
    assert not browser.errors


def test_page_and_classes_change_their_language_and_it_is_remembered(browser: Browser, site: Site) -> None:
    classify(browser, CAT, DOG)
    browser.run("document.getElementById('language').click()")
    browser.until(f"{BEST}.join() === '猫,狗'")
    assert browser.run("document.documentElement.lang") == "zh-Hans"
    assert browser.run("document.title") == "图里是什么？"
    assert "lang=zh" in browser.run("document.querySelector('pre').textContent")
    visit(browser, site.address)
    assert browser.run("document.querySelector('h1').textContent") == "图里是什么？"
    visit(browser, f"{site.address}?lang=en")
    assert browser.run("document.querySelector('h1').textContent") == "What is in the image?"


def test_the_first_language_is_that_of_the_browser(browser: Browser, site: Site) -> None:
    agent = browser.run("navigator.userAgent")
    browser.call("Network.setUserAgentOverride", userAgent=agent, acceptLanguage="zh-CN")
    try:
        visit(browser, site.address)
        assert browser.run("document.querySelector('h1').textContent") == "图里是什么？"
    finally:
        browser.call("Network.setUserAgentOverride", userAgent=agent, acceptLanguage="en-US")


def test_another_model_answers_again(browser: Browser) -> None:
    classify(browser, CAT)
    assert "wrn_16_4.cifar10" in browser.run("document.querySelector('.times').innerText")
    browser.run("(s => { s.value = 'tiny'; s.dispatchEvent(new Event('change')) })(document.getElementById('model'))")
    browser.until(f"{QUIET} && document.querySelector('.times').innerText.startsWith('tiny took')")
    assert "model=tiny" in browser.run("document.querySelector('pre').textContent")
    assert "wrn_10_1" in browser.run("document.getElementById('about').textContent")
    for stage in ("receive", "decode", "wait", "compute"):
        assert stage in browser.run("document.querySelector('.times').innerText")


def test_images_can_be_pasted_and_dropped(browser: Browser) -> None:
    data = base64.b64encode(CAT.read_bytes()).decode()
    browser.run(f"""(() => {{
        const bytes = Uint8Array.from(atob('{data}'), each => each.charCodeAt(0));
        const transfer = name => {{
            const made = new DataTransfer();
            made.items.add(new File([bytes], name, {{ type: 'image/png' }}));
            return made;
        }};
        const more = {{ bubbles: true, cancelable: true }};
        document.body.dispatchEvent(new ClipboardEvent('paste', {{ clipboardData: transfer('pasted.png'), ...more }}));
        document.body.dispatchEvent(new DragEvent('drop', {{ dataTransfer: transfer('dropped.png'), ...more }}));
    }})()""")
    browser.until(f"document.querySelectorAll('.card').length === 2 && {QUIET}")
    names = browser.run("[...document.querySelectorAll('h3')].map(each => each.textContent)")
    assert names == ["dropped.png", "pasted.png"]
    assert browser.run(BEST) == ["cat", "cat"]


@pytest.mark.parametrize(
    ("kind", "text", "notice"),
    [
        ("paste", "https://example.org/cat.jpg", "Nothing was sent: the service fetches no addresses. Save"),
        ("drop", "https://example.org/cat.jpg", "Nothing was sent: the service fetches no addresses. Save"),
        ("paste", "a cat", "Nothing was sent: that is text."),
    ],
)
def test_addresses_and_texts_are_refused_with_words(browser: Browser, kind: str, text: str, notice: str) -> None:
    event, member = ("ClipboardEvent", "clipboardData") if kind == "paste" else ("DragEvent", "dataTransfer")
    browser.run(f"""(() => {{
        const transfer = new DataTransfer();
        transfer.setData('text/plain', '{text}');
        document.body.dispatchEvent(new {event}('{kind}', {{ {member}: transfer, bubbles: true, cancelable: true }}));
    }})()""")
    assert browser.run("document.getElementById('notice').textContent").startswith(notice)
    assert browser.run("document.getElementById('notice').hidden") is False
    assert browser.run("document.querySelectorAll('.card').length") == 0
    classify(browser, CAT)
    assert browser.run("document.getElementById('notice').hidden") is True


def test_everything_is_reached_by_the_keyboard_and_read_aloud(browser: Browser) -> None:
    classify(browser, CAT)
    assert browser.run("document.getElementById('status').textContent").startswith("cat.png: cat, ")
    assert browser.run("document.getElementById('status').getAttribute('role')") == "status"
    controls = []
    for _ in range(30):
        browser.press("Tab")
        if browser.run("document.activeElement === document.body"):      # once around
            break
        controls.append(browser.run("""(e => {
            const shown = e.type === 'file' || e.type === 'radio' ? e.closest('label') : e;
            const name = e.getAttribute('aria-label') || e.labels?.[0]?.innerText || e.innerText;
            return [e.id || e.className || e.value, name.trim(), getComputedStyle(shown).outlineStyle];
        })(document.activeElement)"""))
        if controls[-1][0] == "photo":
            browser.press("ArrowRight")
            browser.press("ArrowRight")
            browser.until(f"!{LAYER}.hidden && document.querySelector('input[value=evidence]').checked")
    names = [control[0] for control in controls]
    for name in ("model", "language", "files", "clear", "remove quiet", "photo", "row"):
        assert name in names, names
    assert [control for control in controls if not control[1] or control[2] != "solid"] == []
    assert browser.run("document.querySelectorAll('img:not([alt])').length") == 0


def test_a_removed_image_leaves_the_focus_at_its_neighbour(browser: Browser) -> None:
    classify(browser, CAT, DOG)
    browser.run("document.querySelector('.remove').click()")
    assert browser.run("document.activeElement.getAttribute('aria-label')") == "Remove dog.jpg"
    browser.run("document.activeElement.click()")
    assert browser.run("document.activeElement.id") == "files"
    assert browser.run("document.getElementById('results').hidden")


def test_the_code_on_the_page_runs(browser: Browser, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "it's a \"cat\" $HOME.png"
    shutil.copy(CAT, tmp_path / name)
    classify(browser, tmp_path / name)
    curl, python = browser.run("[...document.querySelectorAll('pre')].map(each => each.textContent)")
    assert "'@it'\\''s a \"cat\" $HOME.png'" in curl
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        exec(python, {})
    assert capsys.readouterr().out.splitlines()[0].endswith("  cat")
    if shutil.which("curl"):
        quiet = curl.replace("curl", "curl -s", 1)
        done = subprocess.run(["sh", "-c", quiet], cwd=tmp_path, capture_output=True, check=True)
        assert json.loads(done.stdout)["results"][0]["predictions"][0]["label"] == "cat"


def test_a_busy_service_is_retried(browser: Browser, site: Site) -> None:
    admission = site.service.admission
    admission.images += admission.capacity
    try:
        browser.choose("#files", [CAT])
        browser.until("document.querySelector('.state')?.textContent.startsWith('The service is busy')")
    finally:
        admission.images -= admission.capacity
    browser.until(QUIET)
    assert browser.run(BEST) == ["cat"]


COUNT = "document.getElementById('count').textContent"
SHOWN = "document.getElementById('{}').checkVisibility()"


def troubled(app: ASGIApp, service: Service, numbers: Iterator[int]) -> ASGIApp:
    """An app whose queue is full at each fifth request, and that breaks off each ninth answer."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        number = next(numbers) if scope.get("path") == "/v1/classify" else 1
        if number % 9 == 0:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
            return await send({"type": "http.response.body", "body": b'{"model"'})
        others = service.admission.capacity if number % 5 == 0 else 0
        service.admission.images += others
        try:
            await app(scope, receive, send)
        finally:
            service.admission.images -= others

    return handle


def test_a_hundred_images_are_answered_by_a_busy_service_whose_connections_break(browser: Browser, site: Site) -> None:
    service, numbers = Service(site.service.settings), itertools.count(1)
    service.set_models(site.service.models)
    with serving(service, lambda app: troubled(app, service, numbers)) as second:
        visit(browser, second.address)
        browser.choose("#files", [CAT] * 100)
        browser.until(SHOWN.format("stop"))
        assert browser.run(SHOWN.format("progress"))
        browser.until(f"{COUNT} === '100 of 100 images answered'")
        assert browser.run(BEST) == ["cat"] * 100
        assert not any(browser.run(SHOWN.format(name)) for name in ("stop", "retry", "progress"))
        assert browser.run("document.getElementById('status').textContent") == "100 of 100 images answered"
        text = service.metrics.render().decode()
        refused = sum(map(float, re.findall(r'wrn_requests_total{.*status="429"} (\S+)', text)))
        assert next(numbers) - 1 > 100 + refused > 110, "every ninth answer broke off"


def test_what_waits_can_be_stopped_and_tried_again_by_the_keyboard(browser: Browser, site: Site) -> None:
    classify(browser, DOG)
    admission = site.service.admission
    admission.images += admission.capacity
    try:
        browser.choose("#files", [CAT] * 9)
        browser.until("document.querySelector('.state')?.textContent.startsWith('The service is busy')")
        browser.run("document.getElementById('stop').focus()")
        browser.press("Enter")
        browser.until(QUIET)
        assert browser.run(COUNT) == "1 of 10 images answered, 9 failed"
        assert browser.run("document.querySelector('.what').textContent") == "Stopped"
        assert browser.run("document.activeElement.textContent") == "Try 9 again"
        assert not browser.run(SHOWN.format("stop"))
    finally:
        admission.images -= admission.capacity
    asked = len(site.bodies)
    browser.press("Enter")
    browser.until(f"{QUIET} && {COUNT} === '10 of 10 images answered'")
    assert browser.run(BEST) == ["cat"] * 9 + ["dog"]
    assert len(site.bodies) == asked + 9           # what was answered is not sent again


def test_an_image_over_the_limit_shows_an_error(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(CAT.read_bytes() + bytes(3_000_000))
    browser.choose("#files", [tmp_path / "large.png"])
    browser.until(f"document.querySelectorAll('.card').length && {QUIET}")
    problem = browser.run("document.querySelector('.problem').innerText")
    # The service cuts the upload off; then the words of its answer may be lost on the way, but not its number.
    assert "larger than the limit of 0.954 MiB" in problem or "responded with 413" in problem


def test_errors_are_in_the_language_of_the_page(browser: Browser, site: Site, tmp_path: Path) -> None:
    visit(browser, f"{site.address}?lang=zh")
    (tmp_path / "bad.png").write_text("hello")
    (tmp_path / "cut.png").write_bytes(CAT.read_bytes()[:9000])
    classify(browser, tmp_path / "bad.png", tmp_path / "cut.png")
    what = "[...document.querySelectorAll('.what')].map(each => each.textContent)"
    assert browser.run(what) == ["这个文件不是图片", "无法读取这张图片"]
    assert browser.run("document.querySelector('.what').lang") == "zh-Hans"
    assert "请换一张图片" in browser.run("document.querySelector('.hint').textContent")
    assert browser.run("document.querySelector('.original').textContent").startswith("服务原文：not an image but text")
    browser.run("document.getElementById('language').click()")
    browser.until(f"{QUIET} && {what}[0] === 'not an image but text'")
    assert browser.run("document.querySelector('.original').textContent") == ""


def test_every_kind_of_problem_has_chinese_words() -> None:
    words = (Path(serve.__file__).parent / "static/words.js").read_text("utf-8")
    kinds = re.findall(r"^ {4}(\w+): \(", words, re.MULTILINE)
    assert set(kinds) == set(ERROR_STATUS) - {"token", "gone", "load"}, "those are not answers to the page"


def test_answers_are_saved_as_csv_and_json(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "bad, really.png").write_text("hello")
    classify(browser, CAT, tmp_path / "bad, really.png")
    csv_text, json_text = browser.run("""(async () => {
        const blobs = [], make = URL.createObjectURL;
        URL.createObjectURL = (blob) => { blobs.push(blob); return make(blob); };
        HTMLAnchorElement.prototype.click = function () {};
        for (const button of document.querySelectorAll('.save')) button.click();
        URL.createObjectURL = make;
        return Promise.all(blobs.map((blob) => blob.text()));
    })()""")
    rows = list(csv.DictReader(io.StringIO(csv_text.removeprefix("\ufeff"))))
    assert [(row["path"], row["rank"]) for row in rows] == [
        *(("cat.png", str(k)) for k in range(1, 6)), ("bad, really.png", ""),
    ]  # fmt: skip
    assert rows[0]["label"] == "cat"
    assert rows[5]["error"] == "not an image but text"
    answers = json.loads(json_text)
    assert answers[0]["predictions"][0]["probability"] == float(rows[0]["probability"])
    assert answers[1]["error"] == "not an image but text"


def test_many_images_are_a_compact_list_that_unfolds(browser: Browser) -> None:
    classify(browser, *[CAT] * 7)
    assert not browser.run("document.querySelector('#cards').matches('.compact')")
    height = browser.run("document.querySelector('.card').clientHeight")
    classify(browser, *[DOG] * 8)
    browser.until("document.querySelector('#cards').matches('.compact')")
    assert browser.run("document.querySelector('.card').clientHeight") < height / 3
    assert browser.run("document.querySelector('.label').checkVisibility()")
    assert not browser.run("document.querySelector('.times').checkVisibility()")
    browser.run("document.querySelector('.unfold').click()")
    assert browser.run("document.querySelector('.times').checkVisibility()")
    browser.run("document.getElementById('compact').click()")
    assert not browser.run("document.querySelector('#cards').matches('.compact')")
    assert browser.run("document.querySelectorAll('.card')[1].querySelector('.times').checkVisibility()")


def test_the_photograph_shows_its_size_and_what_the_network_sees(browser: Browser) -> None:
    classify(browser, CAT)
    browser.until("!document.querySelector('.marker').hidden")
    box = "(r => [r.left, r.top, r.width, r.height])(document.querySelector('{}').getBoundingClientRect())"
    photo, marker = (browser.run(box.format(name)) for name in (".photo", ".marker"))
    height, width, _ = decode(CAT.read_bytes()).shape
    assert marker[2] == pytest.approx(photo[3], abs=2), "a square as high as the photograph"
    assert marker[0] - photo[0] == pytest.approx((photo[2] - marker[2]) / 2, abs=2)
    assert browser.run("document.querySelector('.size').textContent").startswith(f"{width} × {height} pixels, ")
    assert browser.run("document.querySelector('.size').textContent").endswith(" MiB")
    assert "the bright part, at 32 × 32 pixels" in browser.run("document.querySelector('figcaption').textContent")
    browser.run("document.querySelector('input[value=crop]').click()")
    browser.until(f"!{LAYER}.hidden && document.querySelector('.marker').hidden")


def test_a_route_can_be_tried_from_its_documentation(browser: Browser, site: Site) -> None:
    browser.errors.clear()
    browser.open(f"{site.address}docs")
    browser.until("document.querySelector('form.try')")
    sections = "[...document.querySelectorAll('section')]"
    section = f"{sections}.find(each => each.innerText.startsWith('POST /v1/classify'))"
    form = f"{section}.querySelector('form')"
    browser.run("document.querySelectorAll('details').forEach(each => { each.open = true })")
    browser.choose("form.try input[type=file]", [CAT])
    browser.run(f"(f => {{ f.querySelector('input').value = '2'; f.requestSubmit() }})({form})")
    shown = f"{section}.querySelector('details pre')"
    browser.until(f"!{shown}.hidden")
    predictions = json.loads(browser.run(f"{shown}.textContent"))["results"][0]["predictions"]
    assert [predictions[0]["label"], len(predictions)] == ["cat", 2]
    assert browser.run("document.documentElement.scrollWidth") <= 1200
    assert browser.errors == []


def test_the_examples_of_the_documentation_run(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with urlopen(f"{site.address}docs") as response:
        page = response.read().decode()
    examples = [unescape(text) for text in re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)]
    (python,) = [text for text in examples if text.startswith("import")]
    shutil.copy(CAT, tmp_path)
    shutil.copy(DOG, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        exec(python, {})
    assert "'label': 'cat'" in capsys.readouterr().out
    with urlopen(f"{site.address}openapi.json") as response:
        operation = json.load(response)["paths"]["/v2/models/{model}/infer"]["post"]
    body = json.dumps(operation["requestBody"]["content"]["application/json"]["example"]).encode()
    with urlopen(f"{site.address}v2/models/wrn_16_4.cifar10/infer", body) as response:
        assert json.load(response)["outputs"][0]["shape"] == [1, 10]
    if shutil.which("curl"):
        commands = [text for text in examples if "curl " in text]
        assert len(commands) == 5
        for command in commands:
            script = command.replace("curl ", "curl -sf ").replace("MODEL", "wrn_16_4.cifar10")
            done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, check=True)
            assert json.loads(done.stdout), command


def test_an_unreachable_service_shows_an_error_and_can_be_retried(browser: Browser, site: Site) -> None:
    with serving(Service(site.service.settings)) as second:
        second.service.set_models(site.service.models)
        visit(browser, second.address)
    browser.choose("#files", [CAT])
    browser.until("document.querySelector('.state')?.textContent.startsWith('No connection to the service. Retrying')")
    browser.until(f"document.querySelectorAll('.card').length && {QUIET}")
    assert "The service does not respond" in browser.run("document.querySelector('.problem').innerText")
    assert browser.run("document.querySelector('.again').checkVisibility()")


def test_a_token_is_asked_for(browser: Browser, site: Site) -> None:
    service = Service(site.service.settings.model_copy(update={"token": ServeSettings(token="sesame").token}))
    service.set_models(site.service.models)
    with serving(service) as second:
        browser.open(second.address)
        browser.until("document.getElementById('token').checkVisibility()")
        for word in ("wrong", "sesame"):
            browser.run(f"(t => {{ t.value = '{word}'; t.form.requestSubmit() }})(document.getElementById('token'))")
            if word == "wrong":
                browser.until("document.getElementById('notice').innerText.includes('Wrong token')")
        browser.until("!document.getElementById('token').checkVisibility()")
        assert not browser.run("document.getElementById('notice').checkVisibility()")
        classify(browser, CAT)
        assert browser.run(BEST) == ["cat"]
        assert "sesame" not in browser.run("document.body.innerText")
        assert '-H "Authorization: Bearer $TOKEN"' in browser.run("document.querySelector('pre').textContent")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_is_wider_than_the_window(browser: Browser, tmp_path: Path, width: int, dark: bool) -> None:
    browser.look(width, dark=dark, motion=False)
    classify(browser, CAT)
    browser.run("document.querySelectorAll('details').forEach(each => { each.open = true })")
    for _ in range(2):
        browser.run("document.getElementById('language').click()")
        browser.until(QUIET)
        assert browser.run("document.documentElement.scrollWidth") <= width
        right = "Math.max(...[...document.querySelectorAll('body *')].map(each => each.getBoundingClientRect().right))"
        assert browser.run(right) <= width
    shot = tmp_path / "page.png"
    browser.image(shot)
    ground = decode(shot.read_bytes())[2, 2]
    assert (ground.mean() < 64) == dark
    assert browser.run("document.getElementById('camera').checkVisibility()") == (width == 360)
    assert browser.run("getComputedStyle(document.querySelector('.photo')).transitionDuration") == "0s"


