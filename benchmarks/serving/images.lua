-- For wrk: post one image after the other, each as the field "file" of a form, and print the results as JSON.
--
--     wrk -t1 -c64 -d10s --latency -s images.lua URL -- a.jpg b.jpg …
--
-- IMAGES_PER_REQUEST=8 in the environment: the next eight images in every form.

local requests, index = {}, 0
local boundary = "8d7f2a61c3"
local per_request = tonumber(os.getenv("IMAGES_PER_REQUEST") or 1)

local function part(number, path)
  local file = assert(io.open(path, "rb"))
  local head = '--%s\r\nContent-Disposition: form-data; name="file"; filename="%d.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
  local text = head:format(boundary, number) .. file:read("*a") .. "\r\n"
  file:close()
  return text
end

function init(arguments)
  local headers = {["Content-Type"] = "multipart/form-data; boundary=" .. boundary}
  for first = 1, #arguments, per_request do
    local parts = {}
    for offset = 0, per_request - 1 do
      local number = (first + offset - 1) % #arguments + 1
      parts[#parts + 1] = part(number, arguments[number])
    end
    local body = table.concat(parts) .. "--" .. boundary .. "--\r\n"
    requests[#requests + 1] = wrk.format("POST", nil, headers, body)
  end
end

function request()
  index = index % #requests + 1
  return requests[index]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.3f, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, '
      .. '"refused": %d, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3, errors.status, errors.connect + errors.read + errors.write + errors.timeout
  ))
end
