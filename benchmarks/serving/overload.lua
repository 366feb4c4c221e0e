-- For wrk, with more clients than the queue takes: images.lua, with counts by status. Refused clients retry
-- immediately. The milliseconds are the service's own, of accepted requests, from the head of a request
-- to its response.

dofile(debug.getinfo(1, "S").source:match("@(.*/)") .. "images.lua")

local threads = {}
codes, milliseconds = {}, {}                       -- of one thread of wrk

function setup(thread)
  table.insert(threads, thread)
end

function response(status, _, body)
  local code = tostring(status)
  codes[code] = (codes[code] or 0) + 1
  local total = body:match('"total": ([%d.]+)')
  if total then
    table.insert(milliseconds, tonumber(total))
  end
end

function done(summary, latency, _)
  local all, counts = {}, {}
  for _, thread in ipairs(threads) do
    for code, count in pairs(thread:get("codes")) do
      counts[code] = (counts[code] or 0) + count
    end
    for _, value in ipairs(thread:get("milliseconds")) do
      table.insert(all, value)
    end
  end
  table.sort(all)
  local function quantile(fraction) return all[math.max(1, math.ceil(fraction * #all))] or 0 end
  local parts = {}
  for code, count in pairs(counts) do
    table.insert(parts, string.format('"%s": %d', code, count))
  end
  local errors = summary.errors
  io.write(string.format(
    '{"seconds": %.3f, "codes": {%s}, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, "errors": %d}\n',
    summary.duration / 1e6, table.concat(parts, ", "), quantile(0.5), quantile(0.99), quantile(1),
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end
