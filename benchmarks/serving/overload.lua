-- For wrk, with more clients than fit: pictures.lua, but answers are told apart. Clients that are refused come again
-- at once, all the time. The milliseconds of those that are let in are the service's own, from the head of a request
-- to its answer.

dofile(debug.getinfo(1, "S").source:match("@(.*/)") .. "pictures.lua")

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
  local function quantile(share) return all[math.max(1, math.ceil(share * #all))] or 0 end
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
