-- Colouring at the edge, as an HTTP filter of Envoy: strips the marks of callers who are not trusted,
-- then gives each group's mark to the requests that an entry of one of its lanes lets in.
-- The same decision as `meltemi.lanes.colouring`, held to it by one table of cases.
--
-- `plan`, which stands before this text, is data alone (`meltemi.lanes.envoy_filter` writes it):
--   lists:  names of headers that hold W3C baggage
--   single: by a group's key in lower case, names of headers that hold a member of it alone
--   groups: in their order; key, lower (of the key), trusted (networks), lanes
--   lane:   mark, entries; entry: conditions, sources (networks), share
--   condition: {part, name, kind, value}; of kind `regex` value is where Envoy said how it went
--   network: {bytes of the address that count as a whole, size of the address, bits, next byte}

local bit = require("bit")
local ffi = require("ffi")

local METADATA = "meltemi.lanes"
local MAX_BYTES, MAX_MEMBERS = 8192, 180

-- Who asks ------------------------------------------------------------------------------------

local function ipv4(text)
  local a, b, c, d = text:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  return a and string.char(a, b, c, d)
end

local function groups_of(text, out)
  for part in text:gmatch("[^:]+") do
    local mapped = ipv4(part)
    if mapped then
      out[#out + 1] = mapped
    else
      local number = tonumber(part, 16)
      out[#out + 1] = string.char(bit.rshift(number, 8), number % 256)
    end
  end
  return table.concat(out)
end

local function ipv6(text)
  local head, tail = text:match("^(.-)::(.*)$")
  if not head then return groups_of(text, {}) end
  local front, back = groups_of(head, {}), groups_of(tail, {})
  return front .. ("\0"):rep(16 - #front - #back) .. back
end

-- The text of the caller's address without its port, and its bytes; asked for once.
local function source_of(request)
  if request.address then return request.source, request.address end
  local text = request.handle:streamInfo():downstreamDirectRemoteAddress()
  local v6, v4 = text:match("^%[([^%]%%]+).*%]"), text:match("^([%d.]+):%d+$")
  request.source = v6 or v4 or text
  request.address = v6 and ipv6(v6) or v4 and ipv4(v4) or ""
  return request.source, request.address
end

local function within(address, networks)
  for _, network in ipairs(networks) do
    local whole, size, bits, last = network[1], network[2], network[3], network[4]
    if #address == size and address:sub(1, #whole) == whole then
      if bits == 0 then return true end
      local byte = address:byte(#whole + 1)
      if bit.rshift(byte, 8 - bits) == bit.rshift(last, 8 - bits) then return true end
    end
  end
  return false
end

-- Shares --------------------------------------------------------------------------------------

local P1, P2, P3 = 0x9E3779B185EBCA87ULL, 0xC2B2AE3D27D4EB4FULL, 0x165667B19E3779F9ULL
local P4, P5 = 0x85EBCA77C2B2AE63ULL, 0x27D4EB2F165667C5ULL
local WORDS, HALF = ffi.new("uint64_t[4]"), ffi.new("uint32_t[1]")
local rol, xor, shr = bit.rol, bit.bxor, bit.rshift

local function round(lane, word)
  return rol(lane + word * P2, 31) * P1
end

-- xxHash64 with seed 0.
local function xxhash64(data)
  local length, at = #data, 0
  local start = ffi.cast("const char *", data)
  local mixed = P5
  if length >= 32 then
    local a, b, c, d = P1 + P2, P2, 0ULL, 0ULL - P1
    while at + 32 <= length do
      ffi.copy(WORDS, start + at, 32)
      a, b = round(a, WORDS[0]), round(b, WORDS[1])
      c, d = round(c, WORDS[2]), round(d, WORDS[3])
      at = at + 32
    end
    mixed = rol(a, 1) + rol(b, 7) + rol(c, 12) + rol(d, 18)
    mixed = xor(mixed, round(0ULL, a)) * P1 + P4
    mixed = xor(mixed, round(0ULL, b)) * P1 + P4
    mixed = xor(mixed, round(0ULL, c)) * P1 + P4
    mixed = xor(mixed, round(0ULL, d)) * P1 + P4
  end
  mixed = mixed + length
  while at + 8 <= length do
    ffi.copy(WORDS, start + at, 8)
    mixed = rol(xor(mixed, round(0ULL, WORDS[0])), 27) * P1 + P4
    at = at + 8
  end
  if at + 4 <= length then
    ffi.copy(HALF, start + at, 4)
    mixed = rol(xor(mixed, HALF[0] * P1), 23) * P2 + P3
    at = at + 4
  end
  for place = at + 1, length do
    mixed = rol(xor(mixed, data:byte(place) * P5), 11) * P1
  end
  mixed = xor(mixed, shr(mixed, 33)) * P2
  mixed = xor(mixed, shr(mixed, 29)) * P3
  return xor(mixed, shr(mixed, 32))
end

math.randomseed(os.time() + tonumber(tostring({}):match("0x(%x+)") or "0", 16) % 2147483647)

local holds = {}

function holds.exact(value, text) return value == text end

function holds.prefix(value, text) return value:sub(1, #text) == text end

function holds.present() return true end

function holds.regex(_, name, request)
  if not request.said then
    request.said = request.handle:streamInfo():dynamicMetadata():get(METADATA) or {}
  end
  return request.said[name] == true
end

local function in_share(request, share)
  if share.by == "request" then return math.random(0, 99) < share.percent end
  local key
  if share.by == "source-address" then
    key = source_of(request)
  elseif share.by == "header" then
    key = request.headers:getAtIndex(share.name, 0)
  else
    key = read[share.by](request.headers, share.name)
  end
  return key ~= nil and key ~= "" and xxhash64(key) % 100 < share.percent
end

-- Each part of a request is read once, however many lanes ask for it; false: it is not there.
local function part_of(request, condition)
  local place = condition.place
  local value = request[place]
  if value == nil then
    value = read[condition[1]](request.headers, condition[2]) or false
    request[place] = value
  end
  return value
end

for _, group in ipairs(plan.groups) do
  for _, lane in ipairs(group.lanes) do
    for _, entry in ipairs(lane.entries) do
      for _, condition in ipairs(entry.conditions) do
        condition.place = condition[1] .. ":" .. condition[2]
      end
    end
  end
end

local function lets_in(request, entry)
  for _, condition in ipairs(entry.conditions) do
    local value = part_of(request, condition)
    if not value or not holds[condition[3]](value, condition[4], request) then return false end
  end
  if entry.sources then
    local _, address = source_of(request)
    if not within(address, entry.sources) then return false end
  end
  return not entry.share or in_share(request, entry.share)
end

local function lane_of(request, group)
  for _, lane in ipairs(group.lanes) do
    for _, entry in ipairs(lane.entries) do
      if lets_in(request, entry) then return lane end
    end
  end
end

-- What is taken away ------------------------------------------------------------------------------

-- A key as it is compared: as the most lenient reader behind the edge may read it.
local function plain_key(text)
  if text:find("[%%+]") then text = decoded((text:gsub("+", " "))) end
  return (text:match("^[^!-~]*(.-)[^!-~]*$"):lower())
end

local function folded(name)
  return (name:gsub("_", "-"))
end

-- The key of the member that a header of this name holds, folded; nil where it holds none.
local function single_key(name)
  local rest = folded(name:lower())
  local carried = rest:match("^rpc%-transit%-(.*)") or rest:match("^rpc%-persist%-(.*)")
  rest = carried and (carried:match("^upstream%-(.*)") or carried) or rest
  local key = rest:match("^ot%-baggage%-(.+)") or rest:match("^uberctx%-(.+)")
  return key and folded(plain_key(key))
end

local function key_of(member)
  return plain_key(member:match("^[^=;]*"))
end

-- `text` without the members of `keys`; nil where it has none of them.
local function without(text, keys)
  local kept, left_out = {}, false
  for member in (text .. ","):gmatch("(.-),") do
    if keys[key_of(member)] then left_out = true else kept[#kept + 1] = member end
  end
  return left_out and table.concat(kept, ",") or nil
end

local function put(headers, name, values)
  headers:remove(name)
  for _, value in ipairs(values) do headers:add(name, value) end
end

local function strip_list(headers, name, keys)
  local values, changed = {}, false
  for _, text in ipairs(values_of(headers, name)) do
    local rest = without(text, keys)
    changed = changed or rest ~= nil
    if not rest or rest:find("[^ \t,]") then values[#values + 1] = rest or text end
  end
  if changed then put(headers, name, values) end
end

local function strip(headers, keys)
  for _, name in ipairs(plan.lists) do
    if headers:get(name) then strip_list(headers, name, keys) end
  end
  for key in pairs(keys) do
    for _, name in ipairs(plan.single[key]) do
      if headers:get(name) then headers:remove(name) end
    end
  end
end

-- The keys that a request has marks of, wherever they travel.
local function marks_of(headers)
  local found, single = {}, {}
  for _, name in ipairs(plan.lists) do
    for member in (headers:get(name) or ""):gmatch("[^,]+") do found[key_of(member)] = true end
  end
  for name in pairs(headers) do
    local key = single_key(name)
    if key then single[key] = true end
  end
  for _, group in ipairs(plan.groups) do
    if single[folded(group.lower)] then found[group.lower] = true end
  end
  return found
end

-- What is given -----------------------------------------------------------------------------------

local function joined(text, mark)
  local separator = text:find("^[ \t]*$") or text:find(",[ \t]*$")
  return text .. (separator and "" or ",") .. mark
end

local function fits(text)
  if #text > MAX_BYTES then return false end
  local members = 0
  for _ in text:gmatch("[^,]*[^, \t][^,]*") do members = members + 1 end
  return members <= MAX_MEMBERS
end

-- Behind all that is there, as far as the limits of baggage let them.
local function append(headers, marks)
  local values = values_of(headers, "baggage")
  local whole, fitting = table.concat(values, ","), ""
  for _, mark in ipairs(marks) do
    local more = joined(fitting, mark)
    if fits(joined(whole, more)) then fitting = more end
  end
  if fitting == "" then return end
  if #values == 0 then return headers:add("baggage", fitting) end
  values[#values] = joined(values[#values], fitting)
  put(headers, "baggage", values)
end

local function trusted(request, group)
  if #group.trusted == 0 then return false end
  local _, address = source_of(request)
  return within(address, group.trusted)
end

local everybody, anybody_trusted = {}, false
for _, group in ipairs(plan.groups) do
  everybody[group.lower] = true
  anybody_trusted = anybody_trusted or #group.trusted > 0
end

-- The keys whose marks the caller may not bring, and whether it is trusted with any.
local function strangers_to(request)
  if not anybody_trusted then return everybody, false end
  local strange, friend = {}, false
  for _, group in ipairs(plan.groups) do
    if trusted(request, group) then friend = true else strange[group.lower] = true end
  end
  return strange, friend
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local request = { handle = handle, headers = headers }
  local strange, friend = strangers_to(request)
  strip(headers, strange)
  local marked, marks = friend and marks_of(headers) or {}, nil
  for _, group in ipairs(plan.groups) do
    local lane = not marked[group.lower] and lane_of(request, group)
    if lane then
      marks = marks or {}
      marks[#marks + 1], marked[group.lower] = lane.mark, true
    end
  end
  if marks then append(headers, marks) end
end

-- What a request leaves behind is little beside what Envoy itself holds: it may wait.
collectgarbage("setpause", 400)
