// One request as others would write it.

export function inCurl(address, name, withToken) {
  const token = withToken ? " \\\n  -H \"Authorization: Bearer $TOKEN\"" : "";
  return `curl ${shell(address)} \\\n  -H 'Content-Type: application/octet-stream'${token} \\\n  --data-binary ${shell(`@${name}`)}`;
}

export function inPython(address, name, withToken) {
  const token = withToken ? "\n    \"Authorization\": \"Bearer \" + os.environ[\"TOKEN\"]," : "";
  // A string of JSON is one of Python.
  return `import json${withToken ? ", os" : ""}
from pathlib import Path
from urllib.request import Request, urlopen

image = Path(${JSON.stringify(name)}).read_bytes()
request = Request(${JSON.stringify(address)}, image, {
    "Content-Type": "application/octet-stream",${token}
})
answer = json.load(urlopen(request))
for prediction in answer["results"][0]["predictions"]:
    print(f"{prediction['probability']:.4f}  {prediction['label']}")`;
}

const shell = (word) => `'${word.replaceAll("'", "'\\''")}'`;

export async function copy(pre) {
  try {
    await navigator.clipboard.writeText(pre.textContent);
  } catch {                                        // only pages of https and of this machine have a clipboard
    getSelection().selectAllChildren(pre);
    document.execCommand("copy");
  }
}
